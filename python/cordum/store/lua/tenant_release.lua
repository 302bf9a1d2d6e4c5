-- tenant_release  slot={tenant}  KEYS: 1 job:tenant:active  ARGV: 1.. job ids
-- returns number of slots freed
if #ARGV == 0 then return 0 end
return redis.call('ZREM', KEYS[1], unpack(ARGV))
