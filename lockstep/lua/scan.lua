-- Purpose: some fields of a hash of the shard, without their values, which may be large. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    1 name of the hash, 2 cursor ('0': from the beginning), 3 about how many
-- Answers: the next cursor ('0': that was all); fields
-- States:  none changes

-- @include shard

local found = redis.pcall('HSCAN', key(ARGV[1]), ARGV[2], 'COUNT', ARGV[3], 'NOVALUES')
if not found.err then
    return found
end
-- A server from before NOVALUES.
found = redis.call('HSCAN', key(ARGV[1]), ARGV[2], 'COUNT', ARGV[3])
local fields = {}
for i = 1, #found[2], 2 do
    fields[#fields + 1] = found[2][i]
end
return {found[1], fields}
