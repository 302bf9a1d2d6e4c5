-- tenant_admit  slot={tenant}  KEYS: 1 job:tenant:open  ARGV: 1 now_us, 2 limit, 3.. job ids
-- returns {members there were, admitted ids...}  an id already present is admitted without counting again
local limit, count = tonumber(ARGV[2]), redis.call('ZCARD', KEYS[1])
local reply = {count}
for i = 3, #ARGV do
  local known = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if not known and count < limit then
    redis.call('ZADD', KEYS[1], ARGV[1], ARGV[i])
    count = count + 1
    known = true
  end
  if known then reply[#reply + 1] = ARGV[i] end
end
return reply
