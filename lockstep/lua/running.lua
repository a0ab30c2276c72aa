-- Purpose: compare what limits count as running with the leases that say so, and correct it. Safe to repeat.
-- KEYS:    1 what runs (hash), then the leases of all shards of all queues
-- ARGV:    1 leases to look at, at most: if there are more, nothing is done; 2 '1' to correct
-- Answers: nothing when there are more leases; else for each instance that is counted wrongly: its name, what it
--          counted, what runs
-- States:  none changes

-- What reads leases wants the names of a shard; none is used here.
-- @include shard
-- @include lease

local leases = 0
for i = 2, #KEYS do
    leases = leases + redis.call('HLEN', KEYS[i])
end
if leases > tonumber(ARGV[1]) then
    return false
end

local right, counted = {}, {}
for i = 2, #KEYS do
    for _, packed in ipairs(redis.call('HVALS', KEYS[i])) do
        local extras = extras_of(packed)
        for _, instance in ipairs(extras and extras.slots or {}) do
            right[instance] = (right[instance] or 0) + 1
            counted[instance] = 0
        end
    end
end
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
    counted[flat[i]] = tonumber(flat[i + 1])
end

local answer = {}
for instance, number in pairs(counted) do
    local is = right[instance] or 0
    if number ~= is then
        answer[#answer + 1] = {instance, number, is}
        if ARGV[2] == '1' and is == 0 then
            redis.call('HDEL', KEYS[1], instance)
        elseif ARGV[2] == '1' then
            redis.call('HSET', KEYS[1], instance, is)
        end
    end
end
return answer
