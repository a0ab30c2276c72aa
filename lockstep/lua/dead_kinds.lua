-- Purpose: read how many dead letters there are of each kind. Writes nothing.
-- KEYS:    1 meta of the shard
-- ARGV:    none
-- Answers: for each kind, at most 1,001: actor, class, fingerprint, message of its first, number, ms when the oldest and
--          the newest died, id of the newest
-- States:  none changes

-- @include shard

local answer = {}
local kinds = redis.call('HGETALL', key('kinds'))
for i = 1, #kinds, 2 do
    local ids = key('kind:' .. kinds[i])
    local oldest = redis.call('ZRANGE', ids, 0, 0, 'WITHSCORES')
    local newest = redis.call('ZREVRANGE', ids, 0, 0, 'WITHSCORES')
    if newest[1] then
        local facts = cmsgpack.unpack(kinds[i + 1])
        answer[#answer + 1] = {facts[1], facts[2], facts[3], facts[4], redis.call('ZCARD', ids), oldest[2], newest[2],
            newest[1]}
    end
end
return answer
