-- Purpose: look at what waits for limits again, because they changed. Safe to repeat.
-- KEYS:    1 meta of the shard
-- ARGV:    none
-- Answers: 1
-- States:  none changes

-- @include shard
-- @include group
-- @include lanes

open_lanes()
return 1
