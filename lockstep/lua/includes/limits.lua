-- Limits: how many messages may start in a time, and how many may run at once, over all queues and processes.
--
-- KEYS[2] is the hash of all limits. A limit has a name; it holds for the messages of the queue and of the actor of
-- that name, and for those of actors that share it. What is said at run time stands before what the settings
-- say, and that before what an actor's own options say:
--
--   run|env|code:rate:NAME         COUNT/PERIOD (ms)/BURST/SCOPE, comma-separated, one for each scope: fleet, process, group;
--                                  'off': none
--   run|env|code:concurrency:NAME  at most so many at once; 'off': any number
--   code:names:ACTOR               the names that an actor shares, one a line
--   paused:ACTOR                   ms since when nothing of an actor starts
--   revision                       rises with every change
--
-- A limit that is kept apart for each key, process or group has an instance for each: NAME|k:KEY, NAME|p:OWNER, NAME|g:GROUP.
-- Rates that messages of an actor bring have one of their own: ACTOR|r:RATES.
-- Beside the hash stand, for each instance, the times (ms) of its last starts (log:, a list, the newest last), a hold
-- (hold:, a time to live), and how many run (running, a hash).

local LIMITS = KEYS[2]

local function log_key(instance)
    return LIMITS .. ':log:' .. instance
end

local function hold_key(instance)
    return LIMITS .. ':hold:' .. instance
end

local limits_by_field

-- Whether there are any limits at all; reads them once.
local function limits_exist()
    if not limits_by_field then
        limits_by_field = {}
        local flat = redis.call('HGETALL', LIMITS)
        for i = 1, #flat, 2 do
            limits_by_field[flat[i]] = flat[i + 1]
        end
    end
    return next(limits_by_field) ~= nil
end

local function said(sources, kind, name)
    for _, source in ipairs(sources) do
        local value = limits_by_field[source .. kind .. name]
        if value then
            return value
        end
    end
    return nil
end

local function in_force(kind, name)
    local value = said({'run:', 'env:', 'code:'}, kind, name)
    return value ~= 'off' and value or nil
end

-- A start is dated when it is claimed; it may come this much later (ms), so a window is longer by as much.
local function slack_of(period)
    return math.min(50, math.floor(period / 20))
end

local function read_rates(text)
    local rates = {}
    for count, period, burst, scope in string.gmatch(text or '', '(%d+)/(%d+)/(%d+)/(%a+)') do
        rates[#rates + 1] = {count = tonumber(count), period = tonumber(period), burst = tonumber(burst), scope = scope,
            slack = slack_of(tonumber(period))}
    end
    return rates
end

local rules_by_actor = {}

-- What an actor's messages must observe: {name, counted (name that its rates are counted under), keyed (whether the
-- message's own key counts), rates, concurrency, elsewhere (whether other shards may use it too)}.
--
-- `own`: what a message brings in place of its actor's option (see extra.rates in row.lua), nil if nothing. What is said
-- at run time or by the settings stands before it. It is counted with messages that bring the same.
local function rules_of(actor, queue, shards, own)
    local cached = own and actor .. '\n' .. own or actor
    if rules_by_actor[cached] then
        return rules_by_actor[cached]
    end
    local own_rates, shared = string.match(own or '', '^([^\n]*)\n?(.*)$')
    if not own then
        shared = limits_by_field['code:names:' .. actor] or ''
    end
    local names, keyed = {queue}, {}
    for name in string.gmatch(shared .. '\n' .. actor, '[^\n]+') do
        if name ~= queue and not keyed[name] then
            names[#names + 1] = name
        end
        keyed[name] = true
    end
    local rules = {}
    for _, name in ipairs(names) do
        local text, counted = in_force('rate:', name), name
        if own and name == actor and not said({'run:', 'env:'}, 'rate:', name) then
            text, counted = own_rates, name .. '|r:' .. own_rates
        end
        local rates, concurrency = read_rates(text), tonumber(in_force('concurrency:', name))
        if #rates > 0 or concurrency then
            rules[#rules + 1] = {name = name, counted = counted, keyed = keyed[name], rates = rates,
                concurrency = concurrency, elsewhere = shards > 1 or name ~= queue and name ~= actor}
        end
    end
    rules_by_actor[cached] = rules
    return rules
end

-- When a rate admits the next start (ms): its last COUNT starts lie in one window, its last BURST in a part of it.
local function rate_frees_at(rate, instance)
    local at, log = 0, log_key(instance)
    local oldest = redis.call('LINDEX', log, -rate.count)
    if oldest then
        at = tonumber(oldest) + rate.period + rate.slack
    end
    if rate.burst < rate.count then
        local first = redis.call('LINDEX', log, -rate.burst)
        if first then
            at = math.max(at, tonumber(first) + math.floor(rate.burst * rate.period / rate.count))
        end
    end
    return at
end

local function hold_ends_at(instance)
    local left = redis.call('PTTL', hold_key(instance))
    return left > 0 and NOW + left or 0
end

-- Note a start now. A log holds no more than its rate looks at, and goes when nothing in it counts any more.
local function charge(rate, instance)
    local log = log_key(instance)
    if redis.call('RPUSH', log, NOW) > rate.count then
        redis.call('LTRIM', log, -rate.count, -1)
    end
    redis.call('PEXPIRE', log, rate.period + rate.slack + 1000)
end

-- Take starts back that did not happen, or date them anew. Answers whether all were still there.
local function recharge(instances, since, at)
    local intact = true
    for _, instance in ipairs(instances) do
        if redis.call('LREM', log_key(instance), -1, since) == 0 then
            intact = false
        elseif at then
            redis.call('RPUSH', log_key(instance), at)
        end
    end
    return intact
end

local function leave_slots(instances)
    for _, instance in ipairs(instances) do
        if redis.call('HINCRBY', LIMITS .. ':running', instance, -1) <= 0 then
            redis.call('HDEL', LIMITS .. ':running', instance)
        end
    end
end
