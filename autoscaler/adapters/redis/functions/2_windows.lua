-- Windows: a hash `window:ID` of what is known of each, and a hash `points:ID` of its series, name -> packed points,
-- 16 bytes each: two little-endian doubles, Unix seconds and value, in time order, one per time.

local POINT = 16

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

-- Points of the series that are in the window or find room there, each {name, stored, points}; names of the others.
local function admitted(key, ask, data, at)
  local stored = values_of(key, ask.names)
  local taken, refused, room = {}, {}, nil
  for i, name in ipairs(ask.names) do
    local length = ask.lengths[i]
    if length > 0 then
      local present = stored[i]
      if not present then
        room = room or ask.max_series - redis.call('HLEN', key)
      end
      if present or room > 0 then
        taken[#taken + 1] = {name = name, stored = present or '', points = string.sub(data, at, at + length - 1)}
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

local function grown(series, cutoff, at_most)
  local points, left_out = series.points, 0
  if series.ordered and series.first > cutoff then
    if series.stored == '' or series.first > last_time(series.stored) then
      return trimmed(series.stored .. points, cutoff, at_most), 0
    end
  else
    points, left_out = newer(points, cutoff)
    if points == '' then
      return nil, left_out
    end
  end
  return trimmed(merged(series.stored, points), cutoff, at_most), left_out
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

-- Names and packed points of what the caller lacks, the points added to `bodies`.
local function lacking(key, whole, names, touched, bodies)
  local found, lengths = {}, {}
  local function add(name, packed)
    found[#found + 1] = name
    lengths[#lengths + 1] = #packed
    bodies[#bodies + 1] = packed
  end
  if whole then
    local all = redis.call('HGETALL', key)
    for i = 1, #all, 2 do
      add(all[i], all[i + 1])
    end
  else
    for _, name in ipairs(names) do
      if touched[name] then
        add(name, touched[name])
      end
    end
  end
  return found, lengths
end

local function write_window(prefix, now, ask, data, at, bodies)
  local window, key = prefix .. 'window:' .. ask.id, prefix .. 'points:' .. ask.id
  local known = redis.call('HMGET', window, 'version', 'asof', 'newest', 'swept')
  local version, asof = tonumber(known[1]), tonumber(known[2]) or now
  local newest, swept = tonumber(known[3]), tonumber(known[4]) or now
  local whole = ask.held ~= version
  if not version then
    -- from the clock, so that a version never comes again after the window was forgotten
    version = math.max(0, math.floor(now * 1e6))
    redis.call('DEL', key)
  end

  local taken, refused
  taken, refused, at = admitted(key, ask, data, at)
  for _, series in ipairs(taken) do
    local last
    series.first, last, series.ordered = span(series.points)
    if not newest or last > newest then
      newest = last
    end
  end

  local cutoff = newest and math.min(newest, now) - ask.horizon or -math.huge
  if ask.kept_from[1] then
    cutoff = math.min(cutoff, ask.kept_from[1])
  end
  local touched, old_names, old_counts, gone = {}, {}, {}, {}
  for _, series in ipairs(taken) do
    local packed, left_out = grown(series, cutoff, ask.max_points)
    touched[series.name] = packed
    if left_out > 0 then
      old_names[#old_names + 1], old_counts[#old_counts + 1] = series.name, left_out
    end
  end
  local changes = {}
  for name, packed in pairs(touched) do
    changes[#changes + 1], changes[#changes + 2] = name, packed
  end
  in_pieces('HSET', key, changes)
  leave(key, ask, touched, gone)
  if now - swept >= ask.sweep_interval then
    swept = now
    sweep(key, cutoff, gone)
  end

  version, asof = version + 1, math.max(asof, now)
  redis.call('HSET', window, 'version', whole_number(version), 'asof', exact(asof), 'newest',
    newest and exact(newest) or '', 'swept', exact(swept))
  redis.call('PEXPIRE', window, whole_number(ask.kept))
  redis.call('PEXPIRE', key, whole_number(ask.kept))
  due_at_latest(prefix, 'window:' .. ask.id, now + ask.mark_delay)
  local names, lengths = lacking(key, whole, ask.names, touched, bodies)
  local head = {version, asof, maybe(newest), whole, names, lengths, whole and {} or gone, old_names, old_counts, refused}
  return head, at
end

-- Each write: merges points, raises the version, marks the window as due. Heads of the answers, and all their points.
register('write', function(keys, args)
  local prefix, now, asks = asked(keys, args)
  local heads, bodies, at = {}, {}, 1
  for i, ask in ipairs(asks) do
    heads[i], at = write_window(prefix, now, ask, args[3], at, bodies)
  end
  return {cmsgpack.pack(heads), table.concat(bodies)}
end)

-- Each {id, version, next due}: takes the mark away or moves it, unless the window was written meanwhile; whoever did
-- that has left a mark of its own.
register('done', function(keys, args)
  local prefix, _, marks = asked(keys, args)
  for _, mark in ipairs(marks) do
    local id, version, next_due = mark[1], mark[2], mark[3][1]
    if tonumber(redis.call('HGET', prefix .. 'window:' .. id, 'version')) == version then
      if next_due then
        due_at(prefix, 'window:' .. id, next_due)
      else
        redis.call('ZREM', prefix .. 'work', 'window:' .. id)
      end
    end
  end
  return ''
end, {'allow-oom'})
