-- audit_append  slot={tenant}  KEYS: 1 head, 2 stream, 3 seen event ids, 4 last event per outbox  ARGV: 1 expected head (empty: none), 2 new head, 3 seq, 4 event JSON, 5 event id, 6 now_ms, 7 outbox (empty: none)
-- returns {"appended", stream id} | {"duplicate", ""} | {"conflict", head}  idempotent: an event id is taken once
if redis.call('ZSCORE', KEYS[3], ARGV[5]) then return {'duplicate', ''} end
if ARGV[7] ~= '' and redis.call('HGET', KEYS[4], ARGV[7]) == ARGV[5] then return {'duplicate', ''} end
local head = redis.call('GET', KEYS[1]) or ''
if head ~= ARGV[1] then return {'conflict', head} end
local id = redis.call('XADD', KEYS[2], '*', 'seq', ARGV[3], 'event', ARGV[4])
redis.call('SET', KEYS[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', tonumber(ARGV[6]) - 86400000)
redis.call('ZADD', KEYS[3], ARGV[6], ARGV[5])
redis.call('EXPIRE', KEYS[3], 86400)
if ARGV[7] ~= '' then redis.call('HSET', KEYS[4], ARGV[7], ARGV[5]) end
return {'appended', id}
