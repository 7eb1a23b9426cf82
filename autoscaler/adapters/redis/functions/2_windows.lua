-- Windows: a hash `window:ID` of what is known of each, and a hash `points:ID` of its series, name -> packed points,
-- 16 bytes each: two little-endian doubles, Unix seconds and value, in time order, one per time.

local POINT = 16
-- What the places of a kind of window are, see `write`.
local HORIZON, MAX_SERIES, MAX_POINTS, SWEEP_INTERVAL, KEPT, KEPT_FROM = 1, 2, 3, 4, 5, 6
local NO_LEAVES = {0, {}, {}}

local function time_at(packed, position)
  return (struct.unpack('<d', packed, position))
end

local function last_time(packed)
  return time_at(packed, #packed - POINT + 1)
end

-- Cuts away, from the front, what is not newer than the cutoff or more than `at_most` points.
local function trimmed(packed, cutoff, at_most)
  local from = math.max(1, #packed - at_most * POINT + 1)
  while from < #packed and time_at(packed, from) <= cutoff do
    from = from + POINT
  end
  if from == 1 then
    return packed
  end
  return string.sub(packed, from)
end

-- The position of the first point that is not older than `time`.
local function position_of(packed, time)
  local low, high = 0, #packed / POINT
  while low < high do
    local middle = math.floor((low + high) / 2)
    if time_at(packed, middle * POINT + 1) < time then
      low = middle + 1
    else
      high = middle
    end
  end
  return low * POINT + 1
end

-- `packed` with points in any order merged in; a point at a time that is there replaces it.
local function merged(packed, points)
  local times, by_time = {}, {}
  for position = 1, #points, POINT do
    local time = time_at(points, position)
    if not by_time[time] then
      times[#times + 1] = time
    end
    by_time[time] = string.sub(points, position, position + POINT - 1)
  end
  table.sort(times)
  local position = position_of(packed, times[1])
  local pieces = {string.sub(packed, 1, position - 1)}
  for _, time in ipairs(times) do
    local next_position = position
    while next_position < #packed and time_at(packed, next_position) < time do
      next_position = next_position + POINT
    end
    if next_position > position then
      pieces[#pieces + 1] = string.sub(packed, position, next_position - 1)
    end
    if next_position < #packed and time_at(packed, next_position) == time then
      next_position = next_position + POINT
    end
    pieces[#pieces + 1] = by_time[time]
    position = next_position
  end
  pieces[#pieces + 1] = string.sub(packed, position)
  return table.concat(pieces)
end

-- Those of `points` that are newer than the cutoff, and how many are not.
local function newer(points, cutoff)
  local kept = {}
  for position = 1, #points, POINT do
    if time_at(points, position) > cutoff then
      kept[#kept + 1] = string.sub(points, position, position + POINT - 1)
    end
  end
  return table.concat(kept), #points / POINT - #kept
end

-- First and newest time of some points, and whether they are in strict time order.
local function span(points)
  local first = time_at(points, 1)
  local newest, previous, ordered = first, first, true
  for position = 1 + POINT, #points, POINT do
    local time = time_at(points, position)
    if time <= previous then
      ordered = false
    end
    if time > newest then
      newest = time
    end
    previous = time
  end
  return first, newest, ordered
end

local function values_of(key, names)
  local stored = {}
  for from = 1, #names, 1000 do
    local part = redis.call('HMGET', key, unpack(names, from, math.min(from + 999, #names)))
    for i = 1, #part do
      stored[from + i - 1] = part[i]
    end
  end
  return stored
end

-- Points of the series that are in the window or find room there, each {name, stored, points, place among those asked};
-- names of the others.
local function admitted(key, ask, data, at)
  local names, lengths = ask.names, ask.lengths
  local stored = values_of(key, names)
  local taken, refused, room = {}, {}, nil
  for i, name in ipairs(names) do
    local length = lengths[i]
    if length > 0 then
      local present = stored[i]
      if not present then
        room = room or ask.kind[MAX_SERIES] - redis.call('HLEN', key)
      end
      if present or room > 0 then
        taken[#taken + 1] = {
          name = name, stored = present or '', points = string.sub(data, at, at + length - 1), place = i,
        }
        if not present then
          room = room - 1
        end
      else
        refused[#refused + 1] = name
      end
    end
    at = at + length
  end
  return taken, refused, at
end

-- The points of a series with those that are new; how many of these were too old; whether the others were all put
-- behind those that were there.
local function grown(series, cutoff, at_most)
  local points, left_out = series.points, 0
  if series.ordered and series.first > cutoff then
    local last = series.stored == '' and -math.huge or last_time(series.stored)
    if series.first > last then
      -- who has the series in hand may have dropped it for its silence
      return trimmed(series.stored .. points, cutoff, at_most), 0, last > cutoff
    end
  else
    points, left_out = newer(points, cutoff)
    if points == '' then
      return nil, left_out
    end
  end
  return trimmed(merged(series.stored, points), cutoff, at_most), left_out, false
end

-- Takes out the series whose newest point is not newer than the measure that says they no longer match.
local function leave(key, ask, touched, gone)
  for i, name in ipairs(ask.leaving) do
    local packed = touched[name] or redis.call('HGET', key, name)
    if packed and last_time(packed) <= ask.left_at[i] then
      touched[name] = nil
      redis.call('HDEL', key, name)
      gone[#gone + 1] = name
    end
  end
end

-- Takes out the series that have fallen silent.
local function sweep(key, cutoff, gone)
  local silent = {}
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if last_time(all[i + 1]) <= cutoff then
      silent[#silent + 1] = all[i]
      gone[#gone + 1] = all[i]
    end
  end
  in_pieces('HDEL', key, silent)
end

-- Makes windows due, or leaves those where they are that are due earlier.
local function mark_windows(prefix, ids, due)
  for from = 1, #ids, 500 do
    local marks = {}
    for i = from, math.min(from + 499, #ids) do
      marks[#marks + 1], marks[#marks + 2] = due, 'window:' .. ids[i]
    end
    redis.call('ZADD', prefix .. 'work', 'LT', unpack(marks))
  end
end

-- What is answered of a series that was written: how many points went from its front, where the caller knows the rest;
-- that its points follow, or that there is nothing to say.
local FOLLOWS, NOTHING = -1, -2

-- All series of a window, for who does not have it in hand.
local function whole_of(key, place, bodies)
  local names, lengths = {}, {}
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    names[#names + 1] = all[i]
    lengths[#lengths + 1] = #all[i + 1]
    bodies[#bodies + 1] = all[i + 1]
  end
  return {place, names, lengths}
end

-- What became of the series that were written: an answer for each name, the points of those that follow in `bodies`.
local function told_of(ask, touched, answers, bodies, told, lengths)
  for i, name in ipairs(ask.names) do
    local packed, answer = touched[name], NOTHING
    if packed then
      answer = answers[i]
      if answer == FOLLOWS then
        lengths[#lengths + 1] = #packed
        bodies[#bodies + 1] = packed
      end
    end
    told[#told + 1] = answer
  end
end

-- Has the keys of a window live on, unless nine tenths of that are left: when they end is written down with it.
local function keep_alive(window, key, now, kept, ends, is_new)
  if is_new or not ends or ends < now + 0.9 * kept then
    redis.call('PEXPIRE', window, whole_number(kept * 1000))
    redis.call('PEXPIRE', key, whole_number(kept * 1000))
    redis.call('HSET', window, 'ends', exact(now + kept))
  end
end

-- The time up to which points are too old.
local function cutoff_of(newest, now, horizon, kept_from, unjudged_kept)
  local cutoff = math.min(newest, now) - horizon
  return math.max(math.min(cutoff, kept_from), cutoff - unjudged_kept)
end

-- A version from the clock, so that it never comes again after the window was forgotten or a server has lost its last ones.
local function next_version(version, now)
  return math.max((version or 0) + 1, math.floor(now * 1e6))
end

-- What nearly every write is: points of one series behind those that are there, for who has the window in hand; or no
-- points, of a window that is only to be looked at. Does what `write_window` would, without the tables that it makes for
-- all else; says whether it was that, if not it has done nothing.
local function write_briefly(prefix, now, ask, name, points, bodies, answer, stamp)
  local window, key, kind, place = prefix .. 'window:' .. ask.id, prefix .. 'points:' .. ask.id, ask.kind, ask.place
  local known = redis.call('HMGET', window, 'version', 'asof', 'newest', 'swept', 'ends')
  local version, before = tonumber(known[1]), tonumber(known[3])
  local swept, ends = tonumber(known[4]), tonumber(known[5])
  local newest, whole = before, ask.held ~= version
  if not (version and before and swept and ends) or now - swept >= kind[SWEEP_INTERVAL] or ends < now + 0.9 * kind[KEPT] then
    return false
  end
  if name then
    local stored = not whole and redis.call('HGET', key, name)
    if not stored or points == '' then
      return false
    end
    local first, newest_brought, ordered = span(points)
    newest = math.max(newest, newest_brought)
    local cutoff, last = cutoff_of(newest, now, kind[HORIZON], kind[KEPT_FROM], ask.unjudged_kept), last_time(stored)
    if not ordered or first <= last or last <= cutoff then
      return false
    end
    local packed = trimmed(stored .. points, cutoff, kind[MAX_POINTS])
    redis.call('HSET', key, name, packed)
    answer.told[#answer.told + 1] = (#stored + #points - #packed) / POINT
  end
  version = next_version(version, now)
  local asof = math.max(tonumber(known[2]) or now, now)
  -- the same of nearly all windows of a call
  local version_text = version == stamp.version and stamp.version_text or whole_number(version)
  local asof_text = asof == now and stamp.now_text or exact(asof)
  if newest == before then
    redis.call('HSET', window, 'version', version_text, 'asof', asof_text)
  else
    redis.call('HSET', window, 'version', version_text, 'asof', asof_text, 'newest', exact(newest))
  end
  answer.versions[place], answer.times[place], answer.newest[place] = version, asof, newest
  if whole then
    answer.wholes[#answer.wholes + 1] = whole_of(key, place, bodies)
  end
  return true
end

-- One write; what is said of it is put into `answer`.
local function write_window(prefix, now, ask, data, at, bodies, answer)
  local window, key = prefix .. 'window:' .. ask.id, prefix .. 'points:' .. ask.id
  local known = redis.call('HMGET', window, 'version', 'asof', 'newest', 'swept', 'ends')
  local version, asof = tonumber(known[1]), tonumber(known[2]) or now
  local newest, swept = tonumber(known[3]), tonumber(known[4])
  local whole = ask.held ~= version
  if not version then
    redis.call('DEL', key)
  end
  version = next_version(version, now)

  local taken, refused
  taken, refused, at = admitted(key, ask, data, at)
  for _, series in ipairs(taken) do
    local last
    series.first, last, series.ordered = span(series.points)
    if not newest or last > newest then
      newest = last
    end
  end

  local cutoff = newest and cutoff_of(newest, now, ask.kind[HORIZON], ask.kind[KEPT_FROM], ask.unjudged_kept) or -math.huge
  local touched, answers, old_names, old_counts, gone, changes, is_new = {}, {}, {}, {}, {}, {}, false
  for _, series in ipairs(taken) do
    local packed, left_out, behind = grown(series, cutoff, ask.kind[MAX_POINTS])
    if packed then
      changes[#changes + 1], changes[#changes + 2] = series.name, packed
      touched[series.name] = packed
      is_new = is_new or series.stored == ''
      answers[series.place] = FOLLOWS
      if behind then
        answers[series.place] = (#series.stored + #series.points - #packed) / POINT
      end
    end
    if left_out > 0 then
      old_names[#old_names + 1], old_counts[#old_counts + 1] = series.name, left_out
    end
  end
  in_pieces('HSET', key, changes)
  leave(key, ask, touched, gone)
  local fields = {'version', whole_number(version), 'asof', exact(math.max(asof, now))}
  if newest ~= tonumber(known[3]) then
    fields[5], fields[6] = 'newest', exact(newest)
  end
  if not swept or now - swept >= ask.kind[SWEEP_INTERVAL] then
    fields[#fields + 1], fields[#fields + 2] = 'swept', exact(now)
    if swept then
      sweep(key, cutoff, gone)
    end
  end
  redis.call('HSET', window, unpack(fields))
  keep_alive(window, key, now, ask.kind[KEPT], tonumber(known[5]), is_new)

  answer.versions[ask.place], answer.times[ask.place] = version, math.max(asof, now)
  answer.newest[ask.place] = newest or -math.huge
  if whole then
    answer.wholes[#answer.wholes + 1] = whole_of(key, ask.place, bodies)
    gone = {}
  else
    told_of(ask, touched, answers, bodies, answer.told, answer.lengths)
  end
  if #gone + #old_names + #refused > 0 then
    answer.further[#answer.further + 1] = {ask.place, gone, old_names, old_counts, refused}
  end
  return at
end

-- {kinds, ids, held versions, kinds of each, numbers of series, their names, lengths of their points, leaves, seconds
-- until they are due, seconds for which more than the horizon is kept at most}: merges points, raises versions, and
-- marks the windows as due. A kind is {horizon, most series, most points, seconds between two sweeps, seconds that it is
-- kept, from when on points are kept beyond the horizon}, a leave is {place of the window, names, times}.
--
-- Answers versions, times, newest points, what became of each series of those windows that the caller has in hand, the
-- lengths of what follows of them, {place, names, lengths} of the windows that follow as a whole, {place, gone, too old,
-- how many, refused} where there is any of these; and all points that follow, in this order of windows.
register('write', function(keys, args)
  local prefix, now, asked_ = asked(keys, args)
  local kinds, ids, helds, which, counts = asked_[1], asked_[2], asked_[3], asked_[4], asked_[5]
  local all_names, all_lengths, leaves = asked_[6], asked_[7], {}
  for _, each in ipairs(asked_[8]) do
    leaves[each[1]] = each
  end
  local answer = {versions = {}, times = {}, newest = {}, told = {}, lengths = {}, wholes = {}, further = {}}
  local bodies, at, first = {}, 1, 0
  local clock_version = next_version(nil, now)
  local stamp = {version = clock_version, version_text = whole_number(clock_version), now_text = exact(now)}
  for place, id in ipairs(ids) do
    local left, count = leaves[place], counts[place]
    local ask = {
      place = place, id = id, held = helds[place], kind = kinds[which[place]], unjudged_kept = asked_[10],
    }
    local length = count == 1 and all_lengths[first + 1] or 0
    local brief = count <= 1 and not left and write_briefly(
      prefix, now, ask, count == 1 and all_names[first + 1], string.sub(args[3], at, at + length - 1), bodies, answer, stamp
    )
    if brief then
      at = at + length
    else
      left = left or NO_LEAVES
      ask.names, ask.lengths, ask.leaving, ask.left_at = {}, {}, left[2], left[3]
      for i = 1, count do
        ask.names[i], ask.lengths[i] = all_names[first + i], all_lengths[first + i]
      end
      at = write_window(prefix, now, ask, args[3], at, bodies, answer)
    end
    first = first + count
  end
  mark_windows(prefix, ids, exact(now + asked_[9]))
  local told = {
    answer.versions, answer.times, answer.newest, answer.told, answer.lengths, answer.wholes, answer.further,
  }
  return {cmsgpack.pack(told), table.concat(bodies)}
end)

-- Each {id, version, next due}: takes the mark away or moves it, unless the window was written meanwhile; whoever did
-- that has left a mark of its own.
register('done', function(keys, args)
  local prefix, _, marks = asked(keys, args)
  local moved, gone = {}, {}
  for _, mark in ipairs(marks) do
    local id, version, next_due = mark[1], mark[2], mark[3][1]
    if tonumber(redis.call('HGET', prefix .. 'window:' .. id, 'version')) == version then
      if next_due then
        moved[#moved + 1], moved[#moved + 2] = exact(next_due), 'window:' .. id
      else
        gone[#gone + 1] = 'window:' .. id
      end
    end
  end
  in_pieces('ZADD', prefix .. 'work', moved)
  in_pieces('ZREM', prefix .. 'work', gone)
  return ''
end, {'allow-oom'})
