-- keep_longer  slot=own key  KEYS: 1 key  ARGV: 1 ttl (s)
-- returns 1 when the key now lives that long, 0 when it is gone, lives longer, or for ever
local left = redis.call('TTL', KEYS[1])
if left >= 0 and left < tonumber(ARGV[1]) then
  return redis.call('EXPIRE', KEYS[1], ARGV[1])
end
return 0
