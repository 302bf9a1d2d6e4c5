-- Shared body of the four job scripts (scheduler spec §3, §30). One msgpack map per job in ARGV[3..]; its maps of fields are flat
-- lists (name, value, ...) of non-empty strings and its times are digits, so that both go to Redis as they came.
-- Invariants: one index entry per record, matching its state; a final state is never left but SUCCEEDED -> OUTPUT_QUARANTINED;
-- rev grows by one per applied change; attempts never decrease; a record that is not final has no TTL.
local call, unpack = redis.call, unpack
local now = ARGV[1]
local opt = cmsgpack.unpack(ARGV[2])
local slot = string.match(KEYS[1], '{[^}]*}')
local tag = slot .. ':'
local META, INDEX, RECENT = 'job:meta:' .. tag, 'job:index:' .. tag, 'job:recent:' .. slot
local DUE, DISP, RETRY, WAIT = 'job:due:' .. slot, 'job:disp:' .. slot, 'job:retry:' .. slot, 'job:wait:' .. tag
local DEADLINE, AFTER = 'job:deadline:' .. slot, 'job:after:' .. slot
-- include final_states

-- Sorted-set changes are collected as argument lists and written once per key: a call for several jobs touches each index
-- twice at most. A removal goes before an addition to the same key.
local added, removed = {}, {}
-- Jobs parked per cause, as changes to the partition's counts.
local parked = {}
local function count_parked(cause, change) parked[cause] = (parked[cause] or 0) + change end

local function add(key, score, id)
  local list = added[key]
  if list then
    local n = #list
    list[n + 1], list[n + 2] = score, id
  else
    added[key] = {score, id}
  end
end

local function remove(key, id)
  local list = removed[key]
  if list then list[#list + 1] = id else removed[key] = {id} end
end

local function flush()
  for key, list in pairs(removed) do
    for first = 1, #list, 2000 do call('ZREM', key, unpack(list, first, math.min(first + 1999, #list))) end
  end
  for key, list in pairs(added) do
    local new = 0
    for first = 1, #list, 2000 do
      new = new + call('ZADD', key, unpack(list, first, math.min(first + 1999, #list)))
    end
    if key == RECENT and new > 0 then call('ZREMRANGEBYRANK', key, 0, -(opt.recent_max + 1)) end
  end
  for cause, change in pairs(parked) do
    if change ~= 0 then call('HINCRBY', 'job:parked:' .. slot, cause, change) end
  end
  added, removed, parked = {}, {}, {}
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
    if mode == 'result' and r.withheld and not j.settles then return 'ignored', 'withheld' end
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
  -- A decision the fields hold alone is neither lost nor taken for the newest of a list.
  if j.plain and (r.decision_key or j.plain ~= (r.safety_checked_at or '')) then return 'conflict', 'rev' end
  if j.decision and r.safety_checked_at and not r.decision_key and not j.decision_before then return 'conflict', 'rev' end
  return nil
end

-- The cause of a job that is parked now; every parked record names one, because the counts are kept by it.
local function cause_of(j, fields)
  for i = 1, #fields, 2 do if fields[i] == 'last_cause' then return fields[i + 1] end end
  local cause = string.lower(j.to)
  fields[#fields + 1] = 'last_cause'
  fields[#fields + 1] = cause
  return cause
end

-- Parking and its end: job:retry, the wait sets of pools, counts, next_attempt_at, last_cause, parked_at, wait_pools.
local function park(j, r, changed, fields, dels)
  local id, waits = j.id, nil
  local leaves = r.next_attempt_at and (changed or j.retry)
  if leaves and r.last_cause then count_parked(r.last_cause, -1) end
  if j.retry and j.retry ~= '0' then
    add(RETRY, j.retry, id)
    fields[#fields + 1] = 'next_attempt_at'
    fields[#fields + 1] = j.retry
    count_parked(cause_of(j, fields), 1)
    waits = j.wait or {}
  elseif leaves or j.retry then
    remove(RETRY, id)
    if leaves then
      for _, name in ipairs({'next_attempt_at', 'last_cause', 'parked_at'}) do dels[#dels + 1] = name end
      waits = {}
    end
  end
  if waits then
    local old = r.next_attempt_at and call('HGET', META .. id, 'wait_pools')
    local new = table.concat(waits, ',')
    -- A job that goes on waiting for the same pools keeps its places there.
    if old == new and not j.wait_at then return end
    if old then
      for pool in string.gmatch(old, '[^,]+') do remove(WAIT .. pool, id) end
      dels[#dels + 1] = 'wait_pools'
    end
    if #waits > 0 then
      for i = 1, #waits do add(WAIT .. waits[i], j.wait_at and j.wait_at[i] or now, id) end
      fields[#fields + 1] = 'wait_pools'
      fields[#fields + 1] = new
    end
  end
end

-- Time-out, deadline, unconfirmed dispatch and outbox entries.
local function schedule(j, r, cur, final, fields, dels)
  local id = j.id
  if final or j.due == '0' then
    if cur ~= '' then remove(DUE, id) end
  elseif j.due and not r.withheld then add(DUE, j.due, id) end
  if final or j.deadline == '0' then
    if r.deadline_unix then
      remove(DEADLINE, id)
      dels[#dels + 1] = 'deadline_unix'
    end
  elseif j.deadline then
    add(DEADLINE, j.deadline, id)
    fields[#fields + 1] = 'deadline_unix'
    fields[#fields + 1] = j.deadline
  end
  if j.disp and j.disp ~= '0' and not final then add(DISP, j.disp, id)
  elseif cur ~= '' and (final or j.disp or (cur == 'DISPATCHED' and j.to ~= cur)) then remove(DISP, id) end
  if j.after then
    if #j.after > 0 then
      fields[#fields + 1] = 'after'
      fields[#fields + 1] = table.concat(j.after, ',')
      add(AFTER, now, id)
    elseif r.after then
      dels[#dels + 1] = 'after'
      remove(AFTER, id)
    end
  end
end

local function add_decision(j, r, fields)
  local key = 'job:decisions:' .. tag .. j.id
  if j.decision_key and r.decision_key == j.decision_key then
    local reply = redis.pcall('LSET', key, 0, j.decision)
    if not reply.err then return end
  end
  if j.decision_before then call('LPUSH', key, j.decision_before) end
  if call('LPUSH', key, j.decision) > 50 then call('LTRIM', key, 0, 49) end
  if j.decision_key then
    fields[#fields + 1] = 'decision_key'
    fields[#fields + 1] = j.decision_key
  end
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
  call('SET', 'dlq:entry:' .. tag .. j.id, cjson.encode(entry), 'EX', opt.dlq_ttl_s)
  local index = 'dlq:index:' .. slot
  call('ZADD', index, math.floor(tonumber(now) / 1000000), j.id)
  local excess = math.min(call('ZCARD', index) - opt.dlq_max, 16)
  if excess > 0 then
    local popped = call('ZPOPMIN', index, excess)
    for i = 1, #popped, 2 do call('DEL', 'dlq:entry:' .. tag .. popped[i]) end
  end
end

local function write_lists(j, cur)
  local id = j.id
  local request = j.req or (cur == '' and j.init_req)
  if request then call('SET', 'job:req:' .. tag .. id, request) end
  local events = j.events
  if j.output then call('SET', 'job:output:' .. tag .. id, j.output) end
  if cur == '' and j.init_events then call('RPUSH', 'job:events:' .. tag .. id, unpack(j.init_events)) end
  if events and #events > 0 then call('RPUSH', 'job:events:' .. tag .. id, unpack(events)) end
end

-- The fields this change depends on; reading more costs more than the rest of the script. A field that was read is never nil.
local function read(j, mode)
  local names, n = {META .. j.id, 'state', 'rev'}, 3
  if mode ~= 'create' then
    names = {names[1], 'state', 'rev', 'attempts', 'topic', 'tenant', 'created_at', 'worker_id', 'pool', 'next_attempt_at',
      'last_cause', 'withheld'}
    n = 12
  end
  if j.hash then n = n + 1; names[n] = 'req_hash' end
  if j.dispatch_id then n = n + 1; names[n] = 'dispatch_id' end
  if j.worker_id then n = n + 1; names[n] = 'dispatch_subject' end
  if j.not_approved then n = n + 1; names[n] = 'approval_decision' end
  if j.decision or j.plain then n = n + 2; names[n - 1] = 'decision_key'; names[n] = 'safety_checked_at' end
  if FINAL[j.to] then
    n = n + 4
    names[n - 3], names[n - 2], names[n - 1], names[n] = 'deadline_unix', 'output_safety', 'dispatch_id', 'dispatch_subject'
  elseif j.deadline == '0' then n = n + 1; names[n] = 'deadline_unix' end
  if j.saga then n = n + 1; names[n] = 'saga' end
  if j.after and #j.after == 0 then n = n + 1; names[n] = 'after' end
  local incr = j.incr
  if incr then
    for i = 1, #incr, 2 do if incr[i] ~= 'attempts' then n = n + 1; names[n] = incr[i] end end
  end
  local values = call('HMGET', unpack(names))
  local r = {state = false, rev = false, attempts = false, topic = false, tenant = false, created_at = false, worker_id = false, pool = false}
  for i = 2, n do r[names[i]] = values[i - 1] end
  return r
end

-- The fields to write: `init` below `set`; counters are added to what was read.
local function collect_fields(j, r, cur)
  local fields, incr = j.set or {}, j.incr
  if cur == '' and j.init then
    local init = j.init
    for i = 1, #fields do init[#init + 1] = fields[i] end
    fields = init
  end
  if incr then
    for i = 1, #incr, 2 do
      fields[#fields + 1] = incr[i]
      fields[#fields + 1] = tonumber(r[incr[i]] or 0) + incr[i + 1]
    end
  end
  return fields
end

local function expire(id, has_output)
  local ttl = opt.meta_ttl_s
  call('EXPIRE', META .. id, ttl)
  call('EXPIRE', 'job:req:' .. tag .. id, ttl)
  call('EXPIRE', 'job:events:' .. tag .. id, ttl)
  call('EXPIRE', 'job:decisions:' .. tag .. id, ttl)
  if has_output then call('EXPIRE', 'job:output:' .. tag .. id, ttl) end
end

-- A store holds many finished jobs for a week: what their other fields say is not repeated (see `record_of`).
local function shorten(id, r, fields)
  local start = id .. ':' .. (r.attempts or 0) .. ':'
  if r.dispatch_id and string.sub(r.dispatch_id, 1, #start) == start then
    fields[#fields + 1] = 'dispatch_id'
    fields[#fields + 1] = string.sub(r.dispatch_id, #start + 1)
  end
  if r.worker_id and r.dispatch_subject == 'worker.' .. r.worker_id .. '.jobs' then
    fields[#fields + 1] = 'dispatch_subject'
    fields[#fields + 1] = 'worker.'
  end
end

-- The record's part in a saga; a duty that fits it joins the others.
local function join_saga(j, r)
  local part = j.saga and r.saga or ''
  if part == 'c' and j.saga ~= 'none' or part == 'm' and j.saga == 'rollback' then j.after[#j.after + 1] = j.saga end
  return part
end

local function apply(j, mode)
  local id, to = j.id, j.to
  local r = read(j, mode)
  local cur, rev, attempts = r.state or '', tonumber(r.rev or 0), tonumber(r.attempts or 0)
  local outcome, why = refusal(j, r, cur, rev, attempts, mode)
  if outcome then return {outcome, why, cur, rev} end

  local changed, final, dels = cur ~= to, FINAL[to], j.del or {}
  local fields = collect_fields(j, r, cur)
  if j.output then
    fields[#fields + 1] = 'output_safety'
    fields[#fields + 1] = j.output
  end
  if final and r.withheld then
    dels[#dels + 1] = 'pending_result'
    dels[#dels + 1] = 'withheld'
  end
  park(j, r, changed, fields, dels)
  local part = join_saga(j, r)
  schedule(j, r, cur, final, fields, dels)
  if j.decision then add_decision(j, r, fields) end
  write_lists(j, cur)

  rev = rev + 1
  for i = 1, #fields, 2 do
    local name = fields[i]
    if r[name] ~= nil then r[name] = fields[i + 1] end
  end
  if final then shorten(id, r, fields) end
  local n = #fields
  fields[n + 1], fields[n + 2], fields[n + 3], fields[n + 4], fields[n + 5], fields[n + 6] =
    'state', to, 'rev', rev, 'updated_at', now
  if cur == '' then
    r.created_at = now
    fields[n + 7], fields[n + 8] = 'created_at', now
  elseif #dels > 0 then call('HDEL', META .. id, unpack(dels)) end
  call('HSET', META .. id, unpack(fields))

  if changed and cur ~= '' then remove(INDEX .. string.lower(cur), id) end
  add(INDEX .. string.lower(to), now, id)
  add(RECENT, now, id)
  local topic, tenant = r.topic or '', r.tenant or ''
  attempts = tonumber(r.attempts or 0)
  if j.dlq then add_dead_letter(j, topic, tenant, attempts) end
  if final then expire(id, r.output_safety) end
  return {'moved', to, rev, attempts, topic, tenant, cur, r.created_at or now, r.worker_id or '', r.pool or '', part}
end

local function run(mode)
  local jobs, replies, seen = {}, {}, {}
  -- All maps are unpacked before the first write, so a malformed one leaves nothing half done.
  for i = 3, #ARGV do jobs[i - 2] = cmsgpack.unpack(ARGV[i]) end
  for i = 1, #jobs do
    local id = jobs[i].id
    if seen[id] then flush() end
    seen[id] = true
    replies[i] = apply(jobs[i], mode)
  end
  flush()
  return replies
end
