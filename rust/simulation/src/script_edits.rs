//! Wrong edits of the Lua scripts, for the mutation check: each is put in when the scripts are loaded.

use crate::scripts::Edit;

const COMMON: &str = "_job_common";

const fn edit(
    name: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
) -> (&'static str, Edit) {
    (name, Edit { file, find, replace })
}

/// Every wrong edit of the scripts, with its name.
pub const SCRIPT_EDITS: &[(&str, Edit)] = &[
    edit("any state may be left", COMMON, "if not has(j.from, cur) then return 'conflict', 'state' end", ""),
    edit("revision does not fence", COMMON, "if j.rev and j.rev ~= rev then return 'conflict', 'rev' end", ""),
    edit("dispatch does not fence", COMMON, "if j.dispatch_id ~= (r.dispatch_id or '') then return 'ignored', 'fence' end", ""),
    edit("worker does not fence", COMMON, "and j.worker_id ~= r.worker_id then", "and false then"),
    edit("old index keeps the job", COMMON, "if changed and cur ~= '' then remove(INDEX .. string.lower(cur), id) end", ""),
    edit("new index lacks the job", COMMON, "add(INDEX .. string.lower(to), now, id)", ""),
    edit("revision stands still", COMMON, "rev = rev + 1", ""),
    edit("time-out stays", COMMON, "if cur ~= '' then remove(DUE, id) end", ""),
    edit("time-out is not listed", COMMON, "elseif j.due and not r.withheld then add(DUE, j.due, id) end", "end"),
    edit("deadline stays", COMMON, "remove(DEADLINE, id)", ""),
    edit("deadline is not listed", COMMON, "add(DEADLINE, j.deadline, id)", ""),
    edit("unconfirmed stays", COMMON, "elseif cur ~= '' and (final or j.disp or (cur == 'DISPATCHED' and j.to ~= cur)) then remove(DISP, id) end", "end"),
    edit("unconfirmed is not listed", COMMON, "if j.disp and j.disp ~= '0' and not final then add(DISP, j.disp, id)", "if false then"),
    edit("duties are not listed", COMMON, "add(AFTER, now, id)", ""),
    edit("duties are not named", COMMON, "fields[#fields + 1] = table.concat(j.after, ',')", "fields[#fields + 1] = 'cancel'"),
    edit("dead letter is not written", COMMON, "if j.dlq then add_dead_letter(j, topic, tenant, attempts) end", ""),
    edit("dead letter is not listed", COMMON, "call('ZADD', index, math.floor(tonumber(now) / 1000000), j.id)", ""),
    edit("records never expire", COMMON, "if final then expire(id, r.output_safety) end", ""),
    edit("open records expire", COMMON, "if final then expire(id, r.output_safety) end", "expire(id, r.output_safety)"),
    edit("events never expire", COMMON, "call('EXPIRE', 'job:events:' .. tag .. id, ttl)", ""),
    edit("time-outs are not final", "_final_states", "TIMEOUT = true, DENIED = true", "DENIED = true"),
    edit("parked for ever", COMMON, "for _, name in ipairs({'next_attempt_at', 'last_cause', 'parked_at'}) do dels[#dels + 1] = name end", ""),
    edit("parked nowhere", COMMON, "add(RETRY, j.retry, id)", ""),
    edit("pools keep waiting", COMMON, "for pool in string.gmatch(old, '[^,]+') do remove(WAIT .. pool, id) end", ""),
    edit("pools do not wait", COMMON, "for i = 1, #waits do add(WAIT .. waits[i], j.wait_at and j.wait_at[i] or now, id) end", ""),
    edit("events are not kept", COMMON, "if events and #events > 0 then call('RPUSH', 'job:events:' .. tag .. id, unpack(events)) end", ""),
    edit("request is not kept", COMMON, "if request then call('SET', 'job:req:' .. tag .. id, request) end", ""),
    edit("the decision of the record alone may be overtaken", COMMON, "if j.plain and (r.decision_key or j.plain ~= (r.safety_checked_at or '')) then return 'conflict', 'rev' end", ""),
    edit("the decision of the record alone may be lost", COMMON, "if j.decision and r.safety_checked_at and not r.decision_key and not j.decision_before then return 'conflict', 'rev' end", ""),
    edit("decision is not kept", COMMON, "if j.decision then add_decision(j, r, fields) end", ""),
    edit("counters start anew", COMMON, "tonumber(r[incr[i]] or 0) + incr[i + 1]", "incr[i + 1]"),
    edit("fields go astray", COMMON, "call('HSET', META .. id, unpack(fields))", "call('HSET', META .. string.sub(id, 1, -2), unpack(fields))"),
    edit("another slot", COMMON, "local DUE, DISP, RETRY, WAIT = 'job:due:' .. slot", "local DUE, DISP, RETRY, WAIT = 'job:due:{j07}'"),
    edit("duties of others are cleared", "after_clear", "if rev == '' or not values[1] or values[1] == rev then", "if true then"),
    edit("duties are never cleared", "after_clear", "forget_duties(meta, values[2])", ""),
    edit("dispatches of finished jobs are lost", COMMON, "fields[#fields + 1] = string.sub(r.dispatch_id, #start + 1)", "fields[#fields + 1] = '0'"),
    edit("duties of a later revision are done", "after_done", "local current = ARGV[i + 1] == '' or not values[1] or values[1] == ARGV[i + 1]", "local current = true"),
    edit("undone duties are forgotten", "after_done", "if not done[word] then left[#left + 1] = word end", ""),
    edit("dispatches of others are confirmed", "disp_confirm", "if record[1] ~= 'DISPATCHED' or record[2] == ARGV[i + 1] then gone", "if true then gone"),
    edit("nothing is confirmed", "disp_confirm", "record[2] == ARGV[i + 1]", "false"),
    edit("the wheel keeps the gone", "wheel_drop", "return redis.call('ZREM', KEYS[1], unpack(gone))", "return 0"),
    edit("the wheel drops the waiting", "wheel_drop", "PENDING = true, ", ""),
    edit("time-outs of the running are dropped", "due_drop", "if not TIMED[redis.call('HGET', meta .. ARGV[i], 'state')] then", "if true then"),
    edit("slots without a limit", "tenant_reserve", "if present or limit < 0 or count < limit then", "if true then"),
    edit("slots are granted, not taken", "tenant_reserve", "redis.call('ZADD', KEYS[1], ARGV[1], ARGV[i])", ""),
    edit("nobody gets a slot", "tenant_reserve", "granted[#granted + 1] = ARGV[i]", ""),
    edit("slots taken anew are given back", "tenant_release", "if score and tonumber(score) == tonumber(ARGV[i]) then", "if score then"),
    edit("slots are not given back", "tenant_release", "return redis.call('ZREM', KEYS[1], unpack(gone))", "return 0"),
    edit("a human's answer does not fence", COMMON, "if j.not_approved and r.approval_decision == 'approve' then return 'conflict', 'approved' end", ""),
    edit("the request does not fence", COMMON, "if j.hash and r.req_hash and r.req_hash ~= j.hash then return 'conflict', 'request_hash' end", ""),
    edit("parked jobs stay counted", COMMON, "if leaves and r.last_cause then count_parked(r.last_cause, -1) end", ""),
    edit("parked jobs are not counted", COMMON, "count_parked(cause_of(j, fields), 1)", "cause_of(j, fields)"),
    edit("the wheel forgets what it leased", "wheel_lease", "redis.call('ZADD', KEYS[1], 'XX', unpack(args))", "redis.call('ZREM', KEYS[1], unpack(ids))"),
    edit("nobody leads", "lock_renew", "redis.call('GET', KEYS[1]) == ARGV[1]", "false"),
];
