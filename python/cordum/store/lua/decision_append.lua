-- decision_append  slot={tenant}  KEYS: 1 stream, 2 its size in bytes  ARGV: 1 segment, 2 rows, 3 oldest time kept (ms), 4 most bytes kept, 5 ttl_s
-- returns {id, bytes kept, segments removed}  a repeated call appends again; readers count a job once
-- What is too old or too much goes from the old end, at most 16 segments per call.
local id = redis.call('XADD', KEYS[1], '*', 'n', ARGV[2], 's', ARGV[1])
local size = redis.call('INCRBY', KEYS[2], #ARGV[1])
local removed = 0
while removed < 16 do
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  if not oldest or oldest[1] == id then break end
  local ms = tonumber(string.match(oldest[1], '^%d+'))
  if ms >= tonumber(ARGV[3]) and size <= tonumber(ARGV[4]) then break end
  redis.call('XDEL', KEYS[1], oldest[1])
  size = redis.call('DECRBY', KEYS[2], #oldest[2][4])
  removed = removed + 1
end
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return {id, size, removed}
