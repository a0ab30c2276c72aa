-- Which groups a claim takes from the ready list.

local looked_at = 0

-- Lease the head of a group that is out of every list, or put the group where it must wait.
local function take_head(ref, id, row)
    if waits_for_its_time(ref, row) then
        return
    end
    if LIMITED or extra_of(row, 'slots') or extra_of(row, 'rates') then
        observe_limits()
        admit(ref, id, row)
    else
        lease(ref, id, row)
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
