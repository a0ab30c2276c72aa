-- Which groups a claim takes: from the lanes whose time has come, and from the ready list.

-- A group that was refused is not looked at again before this (ms), so that slots which free one after the other are
-- taken together.
local PAUSE_MS = 5

-- In `lanes`: of a process limit, which every claim looks at.
local ALWAYS = -1

local looked_at, own_due = 0, math.huge

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

-- Lease the head of a group that is out of every list, or put the group where it must wait.
local function take_head(ref, id, row)
    if waits_for_its_time(ref, row) then
        return
    end
    local plan = (LIMITED or row[ROW.EXTRA]) and admission(ref, row)
    if not plan or not is_limited(plan) then
        lease(ref, id, row)
    elseif plan.at > NOW then
        wait_in_lane(ref, plan)
    else
        lease(ref, id, row, charge_all(plan))
    end
end

-- Those that were paused while they could not be taken out of the ready list: they stay out until they are resumed.
local function without_paused(refs)
    if redis.call('EXISTS', key('paused')) == 0 then
        return refs
    end
    local paused, others = redis.call('SMISMEMBER', key('paused'), unpack(refs)), {}
    for i, ref in ipairs(refs) do
        if paused[i] == 1 then
            redis.call('SADD', key('halted'), ref)
        else
            others[#others + 1] = ref
        end
    end
    return others
end

-- Bytes that are no row are handed out as they are: the worker cannot decode them either, and dead-letters them.
local function read_claimed(id, ref, packed)
    local row = unpack_row(packed)
    if not row then
        row = {ref, '', packed, 0, NOW}
        write_row(id, row)
    end
    return row
end

-- Take the heads of groups that are out of every list.
local function take(refs)
    refs = without_paused(refs)
    local ids = {}
    for i, ref in ipairs(refs) do
        ids[i] = head_of(ref) or ''
    end
    local rows = #ids > 0 and redis.call('HMGET', key('messages'), unpack(ids))
    for i, ref in ipairs(refs) do
        if rows[i] then
            take_head(ref, ids[i], read_claimed(ids[i], ref, rows[i]))
        elseif ids[i] ~= '' and pop_head(ref) then
            passed[#passed + 1] = ref -- its head has no row (Redis lost it): the group goes on without it
        end
    end
end

-- Groups that must wait count as looked at, so that a claim ends however many of them there are.
local function take_ready(ready, share)
    local taken = 0
    while #leased < share and taken < ready and looked_at < LOOKED_AT do
        local refs = pop_ready(math.min(share - #leased, LOOKED_AT - looked_at))
        if #refs == 0 then
            break
        end
        taken, looked_at = taken + #refs, looked_at + #refs
        take(refs)
    end
    return taken
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
local function take_from_lanes()
    if redis.call('EXISTS', key('lanes')) == 0 then
        return
    end
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
