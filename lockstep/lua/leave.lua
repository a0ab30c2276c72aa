-- Purpose: a claimer stopped in order and holds no lease any more: nobody needs to wait for it.
-- KEYS:    1 meta of the shard
-- ARGV:    1 claimer, then the sessions it used
-- Answers: 1
-- States:  none changes

-- @include shard

redis.call('ZREM', key('claimers'), ARGV[1])
for i = 2, #ARGV do
    redis.call('DEL', key('session:' .. ARGV[i]))
end
return 1
