-- write_image: adds rows to the image being built; again with the same rows changes nothing
--
-- Keys:
--   holds       hold id to its record
--   claims      buyer to units held or bought
--   keys        buyer and idempotency key to hold id and digest
--   blocked     buyers who may not take part
--   build       epoch of the image being built
--   queue       buyers who wait, by their numbers
--   spent       buyer to the highest number that waits no longer
-- Arguments:
--   epoch       the epoch the caller builds
--   hold_rows   how many rows are live holds
--   closed_rows how many rows after them are closed orders, whose key goes on answering
--   blocked_rows how many rows after them are blocked buyers
--   spent_rows  how many rows after them are numbers that wait no longer; the rest wait
-- Rows:
--   hold_id     of a hold, a closed order or a granted number; of everything else: the empty text
--   user_id     the buyer
--   quantity    units; of a row of the line: its number
--   since_ms    milliseconds, the database's clock
--   key         idempotency key
--   digest      hash of the body that came with the key
-- Replies:
--   written     the rows are in the image
--   overtaken   somebody else builds, or nobody; nothing was changed
-- Invariants:
--   a hold raises its buyer's claims once, however often it is written
--   who waits has the lower of two numbers; a number that is spent does not wait, if that was written before it
--   nothing can be read before publish_image
-- Cost:
--   5 calls to read and 7 to write, whatever the number of rows; at most ROWS_MAX rows

local ARGUMENTS, FIELDS_PER_ROW = 5, 6

local function hset(key, writes)
  if #writes > 0 then
    redis.call('HSET', key, unpack(writes))
  end
end

local function write_claims(claims_key, users, units_of)
  if #users == 0 then
    return
  end
  local claims = redis.call('HMGET', claims_key, unpack(users))
  local writes = {}
  for at, user_id in ipairs(users) do
    writes[#writes + 1] = user_id
    writes[#writes + 1] = tonumber(claims[at] or 0) + units_of[user_id]
  end
  hset(claims_key, writes)
end

-- Rows 1 to hold_rows: new holds into writes, their units by buyer.
local function read_holds(holds_key, args, hold_rows)
  local ids, writes, users, units_of, done = {}, {}, {}, {}, {}
  if hold_rows == 0 then
    return writes, users, units_of
  end
  for row = 1, hold_rows do
    ids[row] = args[ARGUMENTS + (row - 1) * FIELDS_PER_ROW + 1]
  end
  local records = redis.call('HMGET', holds_key, unpack(ids))
  for row, hold_id in ipairs(ids) do
    if not records[row] and not done[hold_id] then
      done[hold_id] = true
      local at = ARGUMENTS + (row - 1) * FIELDS_PER_ROW
      local user_id, quantity, since_ms, key, digest = unpack(args, at + 2, at + 6)
      writes[#writes + 1] = hold_id
      writes[#writes + 1] = pack_hold(user_id .. US .. key, quantity, since_ms, digest)
      if not units_of[user_id] then
        users[#users + 1] = user_id
      end
      units_of[user_id] = (units_of[user_id] or 0) + tonumber(quantity)
    end
  end
  return writes, users, units_of
end

-- Rows `first` to `last` wait, unless the number is spent already.
local function write_line(queue_key, spent_key, args, first, last)
  if last < first then
    return
  end
  local users = {}
  for row = first, last do
    users[#users + 1] = args[ARGUMENTS + (row - 1) * FIELDS_PER_ROW + 2]
  end
  local spent = redis.call('HMGET', spent_key, unpack(users))
  local members = {}
  for at, user_id in ipairs(users) do
    local number = args[ARGUMENTS + (first + at - 2) * FIELDS_PER_ROW + 3]
    if tonumber(number) > unpack_spent(spent[at]) then
      members[#members + 1] = number
      members[#members + 1] = user_id
    end
  end
  if #members > 0 then
    redis.call('ZADD', queue_key, 'LT', unpack(members))
  end
end

-- Rows `first` to `last` wait no longer.
local function write_spent(queue_key, spent_key, args, first, last)
  if last < first then
    return
  end
  local users = {}
  for row = first, last do
    users[#users + 1] = args[ARGUMENTS + (row - 1) * FIELDS_PER_ROW + 2]
  end
  local before, waiting = redis.call('HMGET', spent_key, unpack(users)), redis.call('ZMSCORE', queue_key, unpack(users))
  local writes, gone = {}, {}
  for at, user_id in ipairs(users) do
    local from = ARGUMENTS + (first + at - 2) * FIELDS_PER_ROW
    local number = tonumber(args[from + 3])
    if number > unpack_spent(before[at]) then
      writes[#writes + 1] = user_id
      writes[#writes + 1] = pack_spent(args[from + 3], args[from + 1])
    end
    if waiting[at] and tonumber(waiting[at]) <= number then
      gone[#gone + 1] = user_id
    end
  end
  hset(spent_key, writes)
  if #gone > 0 then
    redis.call('ZREM', queue_key, unpack(gone))
  end
end

local function write_image(keys, args)
  local holds_key, claims_key, keys_key, blocked_key, build_key, queue_key, spent_key = unpack(keys)
  local epoch, hold_rows, closed_rows = whole(args[1]), whole(args[2]), whole(args[3])
  local blocked_rows, spent_rows = whole(args[4]), whole(args[5])
  local count = (#args - ARGUMENTS) / FIELDS_PER_ROW
  if not epoch or not hold_rows or not closed_rows or not blocked_rows or not spent_rows or count % 1 ~= 0
      or count < hold_rows + closed_rows + blocked_rows + spent_rows or count > ROWS_MAX then
    return bad_call('write_image: malformed batch')
  end
  if tonumber(redis.pcall('GET', build_key)) ~= epoch then -- I12
    return { 'overtaken' }
  end

  local hold_writes, users, units_of = read_holds(holds_key, args, hold_rows)
  local key_writes, blocked = {}, {}
  local orders = hold_rows + closed_rows
  for row = 1, orders + blocked_rows do
    local at = ARGUMENTS + (row - 1) * FIELDS_PER_ROW
    local hold_id, user_id, key, digest = args[at + 1], args[at + 2], args[at + 5], args[at + 6]
    if row > orders then
      blocked[#blocked + 1] = user_id
    elseif key ~= '' then
      key_writes[#key_writes + 1] = user_id .. US .. key
      key_writes[#key_writes + 1] = hold_id .. US .. digest
    end
  end

  write_claims(claims_key, users, units_of)
  hset(holds_key, hold_writes)
  hset(keys_key, key_writes)
  if #blocked > 0 then
    redis.call('SADD', blocked_key, unpack(blocked))
  end
  local spent_from = orders + blocked_rows + 1
  local line_from = spent_from + spent_rows
  -- First what waits no longer: an old number of somebody who has a new one must not take its place.
  write_spent(queue_key, spent_key, args, spent_from, line_from - 1)
  write_line(queue_key, spent_key, args, line_from, count)
  return { 'written' }
end

register('write_image', write_image)
