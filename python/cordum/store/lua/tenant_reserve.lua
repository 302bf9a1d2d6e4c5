-- tenant_reserve  slot={tenant}  KEYS: 1 job:tenant:active  ARGV: 1 now_us, 2 limit (negative: none), 3.. job ids
-- returns granted ids; ids already present are granted without counting again, as of now
local limit, count = tonumber(ARGV[2]), redis.call('ZCARD', KEYS[1])
local granted = {}
for i = 3, #ARGV do
  local present = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if present or limit < 0 or count < limit then
    redis.call('ZADD', KEYS[1], ARGV[1], ARGV[i])
    if not present then count = count + 1 end
    granted[#granted + 1] = ARGV[i]
  end
end
return granted
