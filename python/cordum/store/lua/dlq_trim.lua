-- dlq_trim  slot={jNN}  KEYS: 1 dlq:index  ARGV: 1 most entries, 2 limit
-- returns ids dropped, oldest first, at most limit
local tag = string.match(KEYS[1], '{[^}]*}')
local excess = math.min(redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1]), tonumber(ARGV[2]))
local ids = {}
if excess <= 0 then return ids end
local popped = redis.call('ZPOPMIN', KEYS[1], excess)
for i = 1, #popped, 2 do
  ids[#ids + 1] = popped[i]
  redis.call('DEL', 'dlq:entry:' .. tag .. ':' .. popped[i])
end
return ids
