-- A schedule: one packed array under the name of its actor, in the hash KEYS[1].
--
--  1 expression  cron, five fields, perhaps with a time zone before them
--  2 catch_up    its policy: skip, last or all
--  3 mark        ms: every tick up to here is decided, fired or skipped
--  4 seen        ms when a scheduler last declared it
--  5 claimer     who decides about the ticks after the mark; '': nobody
--  6 claimed     ms until when
--  7 tick        ms of the last tick that was fired; 0: none was
--  8 fired       ms when it was
--  9 message     id of its message

local SCHEDULE = {
    EXPRESSION = 1, CATCH_UP = 2, MARK = 3, SEEN = 4, CLAIMER = 5, CLAIMED = 6, TICK = 7, FIRED = 8, MESSAGE = 9,
}

local function read_schedule(packed)
    return packed and cmsgpack.unpack(packed) or nil
end

local function write_schedule(name, schedule)
    redis.call('HSET', KEYS[1], name, cmsgpack.pack(schedule))
end
