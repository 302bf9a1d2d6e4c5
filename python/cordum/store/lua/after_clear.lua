-- after_clear  slot={jNN}  KEYS: 1 anchor  ARGV: 1.. pairs of job id, rev (empty: any)
-- returns number of jobs cleared  idempotent: post-commit duties stay when the record moved on since rev
local tag = string.match(KEYS[1], '{[^}]*}')
local cleared = 0
for i = 1, #ARGV, 2 do
  local meta = 'job:meta:' .. tag .. ':' .. ARGV[i]
  local rev = redis.call('HGET', meta, 'rev')
  if ARGV[i + 1] == '' or not rev or ARGV[i + 1] == rev then
    redis.call('HDEL', meta, 'after')
    cleared = cleared + redis.call('ZREM', 'job:after:' .. tag, ARGV[i])
  end
end
return cleared
