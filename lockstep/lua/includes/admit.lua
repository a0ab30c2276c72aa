-- Whether the head of a group may start now, by every limit that it must observe; all of them are charged, or none.

-- A slot that another queue or shard leaves is seen at the next look (ms); one of this shard opens its lane at once.
local LOOK_MS = 1000

-- Within which a message must start of which only is counted that it runs (ms).
local UNHURRIED_MS = 3600000

-- Where the start of a message is counted for a rule, by one of its names, and a scope; nil when the scope does not concern it.
local function instance_of(name, rule, scope, ref, row)
    local instance, at_key = name, rule.keyed and extra_of(row, 'limit')
    if at_key then
        instance = instance .. '|k:' .. at_key
    end
    if scope == 'process' then
        return instance .. '|p:' .. OWNER
    elseif scope == 'group' then
        local group = is_listed(ref) and string.sub(ref, 3) or extra_of(row, 'group')
        return group and instance .. '|g:' .. group
    end
    return instance
end

-- When the message may start (ms; not after now: at once), the lane to wait in until then, and what a start would
-- charge and occupy. A lane of a process limit is looked at by each claim: only the claimer knows its own time.
local function admission(ref, row)
    local plan = {at = 0, charges = {}, slots = {}}
    local function wait_for(at, lane)
        if at > NOW and at > plan.at then
            plan.at, plan.lane = at, lane
        end
    end
    local function occupy(instance, most, at)
        plan.slots[#plan.slots + 1] = instance
        if tonumber(redis.call('HGET', LIMITS .. ':running', instance) or 0) >= most then
            wait_for(at, instance)
        end
    end
    if limits_by_field['paused:' .. row[ROW.ACTOR]] then
        return {at = math.huge, lane = row[ROW.ACTOR] .. '|paused', charges = {}, slots = {}}
    end
    for _, rule in ipairs(rules_of(row[ROW.ACTOR], QUEUE, SHARDS, extra_of(row, 'rates'))) do
        local own = instance_of(rule.name, rule, 'fleet', ref, row)
        plan.lane = plan.lane or own
        wait_for(hold_ends_at(rule.name), own)
        if own ~= rule.name then
            wait_for(hold_ends_at(own), own)
        end
        for _, rate in ipairs(rule.rates) do
            local instance = instance_of(rule.counted, rule, rate.scope, ref, row)
            if instance then
                plan.charges[#plan.charges + 1] = {rate, instance}
                local lane = rate.scope == 'process' and instance_of(rule.counted, rule, 'fleet', ref, row) .. '|p'
                wait_for(rate_frees_at(rate, instance), lane or instance)
            end
        end
        if rule.concurrency then
            occupy(own, rule.concurrency, rule.elsewhere and NOW + LOOK_MS or math.huge)
        end
    end
    local most, group = extra_of(row, 'slots'), extra_of(row, 'group')
    if most and group then
        local instance = row[ROW.ACTOR] .. '|g:' .. group
        plan.lane = plan.lane or instance
        occupy(instance, most, math.huge)
    end
    return plan
end

local function is_limited(plan)
    return plan.lane ~= nil
end

-- Start what was admitted; answers what ends with its lease.
local function charge_all(plan, extras)
    local charged, slack = {}, math.huge
    for i, one in ipairs(plan.charges) do
        charge(one[1], one[2])
        charged[i] = one[2]
        slack = math.min(slack, one[1].slack)
    end
    for _, instance in ipairs(plan.slots) do
        redis.call('HINCRBY', LIMITS .. ':running', instance, 1)
    end
    extras = extras or {}
    extras.charged = #charged > 0 and charged or nil
    extras.slots = #plan.slots > 0 and plan.slots or nil
    extras.within = #charged > 0 and slack or UNHURRIED_MS
    return extras, extras.within
end
