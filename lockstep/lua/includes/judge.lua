-- What becomes of the messages of an enqueue that brings more than ids: records of what was asked, or uniqueness.
-- Includes once and unique. Sets `judged`: for each message its answer, or the number of the one before it in this call
-- that it repeats or that keeps it out, or false when it is new; and `conflict`.

-- The first message of this call that has an id, a record or a print of uniqueness; and what each record is about.
local by_id, by_record, by_unique, prints = {}, {}, {}, {}
local kept_out = {}

-- What is known of a message by its records; notes a conflict, with them or with one before it in this call.
local function look_up(i, asked)
    local found, clash = asked_before(asked)
    for n, place in ipairs(asked.at) do
        prints[place] = prints[place] or asked.prints[n]
        if clash == n or prints[place] ~= asked.prints[n] then
            conflict = conflict or {'conflict', i, n}
        end
    end
    return found
end

-- The message before this one in this call that it repeats, or that keeps it out; false when there is none.
local function same_in_call(i, id, extra)
    local places, print = extra and extra.once and extra.once.at or {}, extra and extra.unique and extra.unique[1]
    local first = by_id[id]
    for _, place in ipairs(places) do
        first = first or by_record[place]
    end
    if not first and print and by_unique[print] then
        first = by_unique[print]
        kept_out[i] = true
    end
    for _, place in ipairs(places) do
        by_record[place] = first or i
    end
    if print then
        by_unique[print] = first or i
    end
    by_id[id] = first or i
    return first or false
end

for i, id in ipairs(ids) do
    local extra = extras[i]
    local found = extra and extra.once and look_up(i, extra.once)
    if not found and known[i] then
        found = answer_known(id, known[i])
    end
    found = found or extra and extra.unique and kept_out_by(extra.unique)
    local first = same_in_call(i, id, extra)
    judged[i] = found or first
    if not judged[i] then
        fresh = fresh + 1
    end
end

-- The answer to a message that is the same as one before it in this call.
function answer_same(i, id)
    local first = answer[judged[i]]
    local as = first[4] or ids[judged[i]]
    return {kept_out[i] and 2 or 1, first[2], first[3], as ~= id and as or nil}
end

-- Let what was answered be found by whoever asks again, and let a new message keep others out.
function note_answer(id, once, unique, answered)
    if unique and answered[1] == 0 then
        keep_others_out(unique, id, answered)
    end
    if once then
        remember_asked(once, id, answered)
    end
end
