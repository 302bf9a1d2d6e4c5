-- orphan_scan  slot={jNN}  KEYS: 1 index of a state, 2 job:retry  ARGV: 1 newest score, 2 offset, 3 limit
-- returns {members looked at, ids without a due entry of their own}  reads only
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', ARGV[2], ARGV[3])
local answer = {#ids}
if #ids == 0 then return answer end
local due = redis.call('ZMSCORE', KEYS[2], unpack(ids))
for i = 1, #ids do
  if not due[i] then answer[#answer + 1] = ids[i] end
end
return answer
