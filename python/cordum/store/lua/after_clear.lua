-- after_clear  slot={jNN}  KEYS: 1 anchor  ARGV: 1.. pairs of job id, rev (empty: any)
-- returns number of jobs cleared  idempotent: post-commit duties stay when the record moved on since rev
-- include after_common
local done = {}
for i = 1, #ARGV, 2 do
  local meta, rev = META .. ARGV[i], ARGV[i + 1]
  local values = redis.call('HMGET', meta, 'rev', 'state')
  if rev == '' or not values[1] or values[1] == rev then
    forget_duties(meta, values[2])
    done[#done + 1] = ARGV[i]
  end
end
if #done == 0 then return 0 end
return redis.call('ZREM', AFTER, unpack(done))
