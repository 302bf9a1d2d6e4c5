-- Shared body of the four job scripts (scheduler spec §3, §30). One msgpack map per job in ARGV[3..].
-- Invariants: one index entry per record, matching its state; a final state is never left but SUCCEEDED -> OUTPUT_QUARANTINED;
-- rev grows by one per applied change; attempts never decrease; a record that is not final has no TTL.
local now = ARGV[1]
local opt = cmsgpack.unpack(ARGV[2])
local suffix = string.match(KEYS[1], '{[^}]*}')
local tag = suffix .. ':'
local FINAL = {SUCCEEDED = true, FAILED = true, CANCELLED = true, TIMEOUT = true, DENIED = true, OUTPUT_QUARANTINED = true}

-- Numbers are doubles here and print with 14 digits by default, too few for microseconds.
local function int(n) return string.format('%.0f', n) end

-- Sorted-set changes are collected and written once per key: a call for several jobs touches each index twice at most.
local pending = {}
local function mark(key, id, score)
  local members = pending[key]
  if not members then members = {}; pending[key] = members end
  members[id] = score
end

local function call_in_chunks(command, key, list)
  for first = 1, #list, 2000 do
    redis.call(command, key, unpack(list, first, math.min(first + 1999, #list)))
  end
end

local function flush()
  for key, members in pairs(pending) do
    local add, remove = {}, {}
    for id, score in pairs(members) do
      if score then add[#add + 1] = score; add[#add + 1] = id else remove[#remove + 1] = id end
    end
    if #remove > 0 then call_in_chunks('ZREM', key, remove) end
    if #add > 0 then call_in_chunks('ZADD', key, add) end
  end
end

local function has(list, value)
  for i = 1, #list do if list[i] == value then return true end end
  return false
end

-- Why a transition must not be applied: tag and reason, or nil.
local function refusal(j, r, cur, rev, attempts, mode)
  if cur == '' then
    if mode == 'result' then return 'ignored', 'absent' end
    if not has(j.from, '') then return 'conflict', 'absent' end
  else
    if mode == 'result' and FINAL[cur] then return 'ignored', 'terminal' end
    if j.hash and r.req_hash and r.req_hash ~= j.hash then return 'conflict', 'request_hash' end
    if mode == 'create' then return 'conflict', 'state' end
    if j.dispatch_id and j.dispatch_id ~= '' then
      if j.dispatch_id ~= (r.dispatch_id or '') then return 'ignored', 'fence' end
    elseif j.worker_id and r.dispatch_subject and string.sub(r.dispatch_subject, 1, 7) == 'worker.' and j.worker_id ~= r.worker_id then
      return 'ignored', 'fence'
    end
    if not has(j.from, cur) then return 'conflict', 'state' end
    if FINAL[cur] and cur ~= j.to and not (cur == 'SUCCEEDED' and j.to == 'OUTPUT_QUARANTINED') then
      return 'conflict', 'state'
    end
  end
  if j.rev and j.rev ~= rev then return 'conflict', 'rev' end
  if j.attempt and j.attempt ~= attempts + 1 then return 'conflict', 'attempt' end
  if j.not_approved and r.approval_decision == 'approve' then return 'conflict', 'approved' end
  return nil
end

local function split(text)
  local parts = {}
  for part in string.gmatch(text or '', '[^,]+') do parts[#parts + 1] = part end
  return parts
end

-- Parking and its end: job:retry, the wait sets of pools, next_attempt_at, last_cause, wait_pools.
local function park(j, r, changed, fields, dels)
  local id, waits = j.id, nil
  if j.retry and j.retry > 0 then
    local due = int(j.retry)
    mark('job:retry:' .. suffix, id, due)
    fields.next_attempt_at = due
    waits = j.wait or {}
  elseif changed or j.retry then
    if r.next_attempt_at then
      mark('job:retry:' .. suffix, id, false)
      dels[#dels + 1] = 'next_attempt_at'
      dels[#dels + 1] = 'last_cause'
    end
    waits = {}
  end
  if waits then
    local old = r.next_attempt_at and redis.call('HGET', 'job:meta:' .. tag .. id, 'wait_pools')
    if old then
      for _, pool in ipairs(split(old)) do mark('job:wait:' .. tag .. pool, id, false) end
      dels[#dels + 1] = 'wait_pools'
    end
    if #waits > 0 then
      for _, pool in ipairs(waits) do mark('job:wait:' .. tag .. pool, id, now) end
      fields.wait_pools = table.concat(waits, ',')
    end
  end
end

-- Time-out, deadline, unconfirmed dispatch and outbox entries.
local function schedule(j, r, cur, final, fields, dels)
  local id = j.id
  if final or j.due == 0 then mark('job:due:' .. suffix, id, false)
  elseif j.due then mark('job:due:' .. suffix, id, int(j.due)) end
  if final or j.deadline == 0 then
    if r.deadline_unix then
      mark('job:deadline:' .. suffix, id, false)
      dels[#dels + 1] = 'deadline_unix'
    end
    fields.deadline_unix = nil
  elseif j.deadline then
    mark('job:deadline:' .. suffix, id, int(j.deadline))
    fields.deadline_unix = int(j.deadline)
  end
  if j.disp and j.disp > 0 and not final then mark('job:disp:' .. suffix, id, int(j.disp))
  elseif final or j.disp == 0 or (cur == 'DISPATCHED' and j.to ~= cur) then mark('job:disp:' .. suffix, id, false) end
  if j.after then
    if #j.after > 0 then
      fields.after = table.concat(j.after, ',')
      mark('job:after:' .. suffix, id, now)
    elseif r.after then
      dels[#dels + 1] = 'after'
      mark('job:after:' .. suffix, id, false)
    end
  end
end

local function add_decision(j, r, fields)
  local key = 'job:decisions:' .. tag .. j.id
  if j.decision_key and r.decision_key == j.decision_key then
    local reply = redis.pcall('LSET', key, 0, j.decision)
    if not reply.err then return end
  end
  redis.call('LPUSH', key, j.decision)
  redis.call('LTRIM', key, 0, 49)
  if j.decision_key then fields.decision_key = j.decision_key end
end

local function add_dead_letter(j, topic, tenant, attempts)
  local entry = {job_id = j.id, last_state = j.to}
  for _, name in ipairs({'status', 'reason', 'reason_code', 'created_at'}) do
    local value = j.dlq[name]
    if value and value ~= '' then entry[name] = value end
  end
  if topic ~= '' then entry.topic = topic end
  if tenant ~= '' then entry.tenant = tenant end
  if attempts > 0 then entry.attempts = attempts end
  redis.call('SET', 'dlq:entry:' .. tag .. j.id, cjson.encode(entry), 'EX', int(opt.dlq_ttl_s))
  local index = 'dlq:index:' .. suffix
  redis.call('ZADD', index, math.floor(tonumber(now) / 1000000), j.id)
  local excess = math.min(redis.call('ZCARD', index) - opt.dlq_max, 16)
  if excess > 0 then
    local popped = redis.call('ZPOPMIN', index, excess)
    for i = 1, #popped, 2 do redis.call('DEL', 'dlq:entry:' .. tag .. popped[i]) end
  end
end

-- Fields of the hash after this change; counters are read, added to and written back in the same HSET.
local function collect_fields(j, r, cur, dels)
  local fields = {}
  if cur == '' and j.init then for name, value in pairs(j.init) do fields[name] = value end end
  for name, value in pairs(j.set or {}) do fields[name] = value end
  for name, value in pairs(fields) do
    if value == '' then fields[name] = nil; dels[#dels + 1] = name
    elseif type(value) == 'number' then fields[name] = int(value)
    elseif type(value) ~= 'string' then fields[name] = tostring(value) end
  end
  for name, by in pairs(j.incr or {}) do
    fields[name] = int(tonumber(r[name] or 0) + by)
  end
  for _, name in ipairs(j.del or {}) do dels[#dels + 1] = name end
  return fields
end

local function write_lists(j, cur)
  local id = j.id
  local request = j.req or (cur == '' and j.init_req)
  if request then redis.call('SET', 'job:req:' .. tag .. id, request) end
  local events = 'job:events:' .. tag .. id
  if cur == '' and j.init_events and #j.init_events > 0 then redis.call('RPUSH', events, unpack(j.init_events)) end
  if j.events and #j.events > 0 then redis.call('RPUSH', events, unpack(j.events)) end
end

-- The fields this change depends on; reading more costs more than the rest of the script.
local function read(meta, j, mode)
  local names = {'state', 'rev', 'attempts', 'topic', 'tenant', 'created_at', 'worker_id', 'pool', 'next_attempt_at'}
  if mode == 'create' then names = {'state', 'rev'} end
  if j.hash then names[#names + 1] = 'req_hash' end
  if j.dispatch_id then names[#names + 1] = 'dispatch_id' end
  if j.worker_id then names[#names + 1] = 'dispatch_subject' end
  if j.not_approved then names[#names + 1] = 'approval_decision' end
  if j.decision_key then names[#names + 1] = 'decision_key' end
  if FINAL[j.to] or j.deadline == 0 then names[#names + 1] = 'deadline_unix' end
  if j.after and #j.after == 0 then names[#names + 1] = 'after' end
  for name in pairs(j.incr or {}) do names[#names + 1] = name end
  local values, r = redis.call('HMGET', meta, unpack(names)), {}
  for i = 1, #names do r[names[i]] = values[i] or nil end
  return r
end

local function apply(j, mode)
  local id = j.id
  local meta = 'job:meta:' .. tag .. id
  local r = read(meta, j, mode)
  local cur, rev, attempts = r.state or '', tonumber(r.rev or 0), tonumber(r.attempts or 0)
  local outcome, why = refusal(j, r, cur, rev, attempts, mode)
  if outcome then return {outcome, why, cur, rev} end

  local to = j.to
  local changed, final, dels = cur ~= to, FINAL[to], {}
  local fields = collect_fields(j, r, cur, dels)
  park(j, r, changed, fields, dels)
  schedule(j, r, cur, final, fields, dels)
  if j.decision then add_decision(j, r, fields) end
  write_lists(j, cur)

  rev = rev + 1
  local created = r.created_at or now
  attempts = tonumber(fields.attempts or attempts)
  local topic, tenant = fields.topic or r.topic or '', fields.tenant or r.tenant or ''
  local worker, pool = fields.worker_id or r.worker_id or '', fields.pool or r.pool or ''
  fields.state, fields.rev, fields.updated_at, fields.created_at = to, int(rev), now, created
  local flat, n = {}, 0
  for name, value in pairs(fields) do flat[n + 1] = name; flat[n + 2] = value; n = n + 2 end
  if cur ~= '' and #dels > 0 then redis.call('HDEL', meta, unpack(dels)) end
  redis.call('HSET', meta, unpack(flat))

  if changed and cur ~= '' then mark('job:index:' .. tag .. string.lower(cur), id, false) end
  mark('job:index:' .. tag .. string.lower(to), id, now)
  mark('job:recent:' .. suffix, id, now)
  if j.dlq then add_dead_letter(j, topic, tenant, attempts) end
  if final then
    local ttl = int(opt.meta_ttl_s)
    redis.call('EXPIRE', meta, ttl)
    redis.call('EXPIRE', 'job:req:' .. tag .. id, ttl)
    redis.call('EXPIRE', 'job:events:' .. tag .. id, ttl)
    redis.call('EXPIRE', 'job:decisions:' .. tag .. id, ttl)
    redis.call('EXPIRE', 'job:output:' .. tag .. id, ttl)
  end
  return {'moved', to, rev, attempts, topic, tenant, cur, created, worker, pool}
end

local function run(mode)
  local jobs, replies, moved = {}, {}, false
  -- All maps are unpacked before the first write, so a malformed one leaves nothing half done.
  for i = 3, #ARGV do jobs[i - 2] = cmsgpack.unpack(ARGV[i]) end
  for i = 1, #jobs do
    local reply = apply(jobs[i], mode)
    moved = moved or reply[1] == 'moved'
    replies[i] = reply
  end
  if moved then
    flush()
    redis.call('ZREMRANGEBYRANK', 'job:recent:' .. suffix, 0, -(opt.recent_max + 1))
  end
  return replies
end
