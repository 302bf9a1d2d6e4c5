-- wheel_lease  slot={jNN}  KEYS: 1 job:retry  ARGV: 1 now_us, 2 limit, 3 lease_us
-- returns ids due now, each hidden from other callers until now + lease
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
if #ids > 0 then
  local until_us = string.format('%.0f', tonumber(ARGV[1]) + tonumber(ARGV[3]))
  local args = {}
  for i = 1, #ids do args[2 * i - 1] = until_us; args[2 * i] = ids[i] end
  redis.call('ZADD', KEYS[1], 'XX', unpack(args))
end
return ids
