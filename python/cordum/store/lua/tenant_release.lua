-- tenant_release  slot={tenant}  KEYS: 1 job:tenant:active  ARGV: 1.. pairs of reservation time (µs), job id
-- returns number of slots freed  a slot reserved or taken anew since then stays: the limit may be too strict, never too loose
local gone = {}
for i = 1, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i + 1])
  if score and tonumber(score) == tonumber(ARGV[i]) then gone[#gone + 1] = ARGV[i + 1] end
end
if #gone == 0 then return 0 end
return redis.call('ZREM', KEYS[1], unpack(gone))
