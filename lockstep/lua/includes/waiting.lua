-- What a claim does with groups that limits concern: those that are ready and may have to wait, and those that wait.

-- A group that was refused is not looked at again before this (ms), so that slots which free one after the other are
-- taken together.
local PAUSE_MS = 5

-- In `lanes`: of a process limit, which every claim looks at.
local ALWAYS = -1

local function wait_in_lane(ref, plan)
    local at = plan.at
    if string.sub(plan.lane, -2) == '|p' then
        own_due = math.min(own_due, at)
        park(ref, plan.lane, ALWAYS)
        if redis.call('ZCARD', lane_key(plan.lane)) == 1 then
            wake_all() -- others may have room
        end
    else
        park(ref, plan.lane, math.max(at, NOW + PAUSE_MS))
    end
    redis.call('HINCRBY', key('stats'), 'limit_waits|' .. string.match(plan.lane, '^[^|]*'), 1)
end

-- Lease the head of a group that is out of every list, or let the group wait for the limit that refuses it.
local function lease_or_wait(ref, id, row)
    local plan = admission(ref, row)
    if not is_limited(plan) then
        lease(ref, id, row)
    elseif plan.at > NOW then
        wait_in_lane(ref, plan)
    else
        lease(ref, id, row, charge_all(plan))
    end
end

-- When the head of a lane's first group may start; the group is taken if that is now.
local function take_first(lane, ref)
    local id = head_of(ref)
    local row = id and fetch_row(id)
    local plan = row and admission(ref, row)
    if plan and plan.lane == lane and plan.at > NOW then
        if string.sub(lane, -2) == '|p' then
            own_due = math.min(own_due, plan.at)
        else
            redis.call('ZADD', key('lanes'), math.max(plan.at, NOW + PAUSE_MS), lane)
        end
        return false
    end
    unpark(ref)
    take({ref})
    return true
end

-- Take groups from the lanes whose time has come.
local function take_due()
    for _, lane in ipairs(redis.call('ZRANGEBYSCORE', key('lanes'), '-inf', NOW, 'LIMIT', 0, 100)) do
        local goes_on = true
        while goes_on and #leased < WANTED and looked_at < LOOKED_AT do
            local ref = redis.call('ZRANGE', lane_key(lane), 0, 0)[1]
            looked_at = looked_at + 1
            goes_on = ref and take_first(lane, ref)
            if not ref then
                redis.call('ZREM', key('lanes'), lane)
            end
        end
    end
end
