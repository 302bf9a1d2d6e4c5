-- index_repair  slot={jNN}  KEYS: 1 anchor  ARGV: 1 state of the index, lower case, 2 offset, 3 limit
-- returns {members looked at, members put right}  idempotent: an entry follows its record
local tag = string.match(KEYS[1], '{[^}]*}')
local index = 'job:index:' .. tag .. ':'
local ids = redis.call('ZRANGE', index .. ARGV[1], ARGV[2], ARGV[2] + ARGV[3] - 1)
local repaired = 0
for i = 1, #ids do
  local values = redis.call('HMGET', 'job:meta:' .. tag .. ':' .. ids[i], 'state', 'updated_at')
  local state = values[1] and string.lower(values[1])
  if state ~= ARGV[1] then
    redis.call('ZREM', index .. ARGV[1], ids[i])
    if state and values[2] then redis.call('ZADD', index .. state, 'NX', values[2], ids[i]) end
    repaired = repaired + 1
  end
end
return {#ids, repaired}
