-- Lanes: where groups wait whose head a limit does not admit now. A group is in one lane, the one of the limit that
-- refused its head, in the order in which they came; so limits do not wait for each other, and nothing looks at a lane
-- before its time. `limited` says which lane a group is in, `lanes` when to look at a lane again (ms; 0: now).

local function lane_key(lane)
    return key('lane:' .. lane)
end

local parked = 0

-- Let a group wait in a lane, behind those that do; the lane is looked at again at `at` (ms).
local function park(ref, lane, at)
    parked = parked + 1
    redis.call('HSET', key('limited'), ref, lane)
    redis.call('ZADD', lane_key(lane), NOW_US + parked, ref)
    redis.call('ZADD', key('lanes'), at, lane)
end

-- Take a group out of its lane; answers which that was, nil when it is in none.
local function unpark(ref)
    local lane = redis.call('HGET', key('limited'), ref)
    if not lane then
        return nil
    end
    redis.call('HDEL', key('limited'), ref)
    redis.call('ZREM', lane_key(lane), ref)
    if redis.call('EXISTS', lane_key(lane)) == 0 then
        redis.call('ZREM', key('lanes'), lane)
    end
    return lane
end

-- Look at a lane at the next claim: its limit has room again.
local function open_lane(lane)
    return redis.call('ZADD', key('lanes'), 'XX', 'CH', 0, lane) == 1
end

-- Look at all lanes at the next claim, 5,000 of them at most: the limits have changed.
local function open_lanes()
    local lanes = redis.call('ZRANGE', key('lanes'), 0, 4999)
    for _, lane in ipairs(lanes) do
        open_lane(lane)
    end
    if #lanes > 0 then
        wake()
    end
end
