-- breaker_fail  slot=own key  KEYS: 1 failure counter  ARGV: 1 ttl_s, 2 threshold
-- returns failures counted; the expiry is set by the first failure and anew by the one that reaches the threshold
local count = redis.call('INCR', KEYS[1])
if count == 1 or count == tonumber(ARGV[2]) then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count
