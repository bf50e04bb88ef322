-- settle: notes what the ledger said to grants: their orders are committed, or they were refused
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   holds       hold id to its record
--   claims      buyer to units held or bought
--   keys        buyer and idempotency key to hold id and digest
--   granting    buyers whose unit is taken and whose order is not settled, by their numbers
--   grants      buyer to hold id and time of such a unit
--   spent       buyer to the highest number that waits no longer
--   news        changes of the line
-- Arguments:
--   epoch       the epoch of the image to change
--   mark        the highest number granted so far (Q4)
--   granted     how many rows are granted; the rest were refused
-- Rows:
--   user_id     the buyer
--   number      the number
--   hold_id     the hold; a grant with another one is left alone
-- Replies:
--   settled     then how many rows were unsettled
--   no_image    there is no image that can be believed
--   other_epoch the image has another epoch; nothing was changed
-- Invariants:
--   a unit goes back once, with the hold that is deleted (I2)
-- Cost:
--   10 calls to read and 7 to write, and 3 for each row that was refused; at most ROWS_MAX rows

local ARGUMENTS, FIELDS_PER_ROW = 3, 3

-- The rows that are unsettled still: those granted, those refused, and what is written about all of them.
local function find(grants_key, args, granted_rows)
  local users = {}
  for at = ARGUMENTS + 1, #args, FIELDS_PER_ROW do
    users[#users + 1] = args[at]
  end
  local records = redis.call('HMGET', grants_key, unpack(users))
  local found = { users = {}, spent = {}, items = {}, refused = {}, done = {} }
  for row, user_id in ipairs(users) do
    local at = ARGUMENTS + (row - 1) * FIELDS_PER_ROW
    local number, hold_id = args[at + 2], args[at + 3]
    local mark = hold_id .. US
    if records[row] and string.sub(records[row], 1, #mark) == mark and not found.done[user_id] then
      found.done[user_id] = true
      found.users[#found.users + 1] = user_id
      found.spent[#found.spent + 1] = user_id
      if row <= granted_rows then
        found.spent[#found.spent + 1] = pack_spent(number, hold_id)
        found.items[#found.items + 1] = 'granted' .. US .. number .. US .. user_id .. US .. hold_id
      else
        found.spent[#found.spent + 1] = pack_spent(number, '')
        found.items[#found.items + 1] = 'gone' .. US .. number .. US .. user_id .. US
        found.refused[#found.refused + 1] = { user_id = user_id, number = number, hold_id = hold_id }
      end
    end
  end
  return found
end

-- Units given back: those of the holds that are there. A hold that was released meanwhile has none left.
local function give_back(stock_key, holds_key, claims_key, keys_key, refused)
  local gone, asks = 0, {}
  for at, row in ipairs(refused) do
    asks[at] = row.user_id .. US .. 'line-' .. row.number
    if redis.call('HDEL', holds_key, row.hold_id) == 1 then
      gone = gone + 1
      if redis.call('HINCRBY', claims_key, row.user_id, -1) <= 0 then
        redis.call('HDEL', claims_key, row.user_id)
      end
    end
  end
  redis.call('HDEL', keys_key, unpack(asks))
  redis.call('INCRBY', stock_key, gone) -- I2: never a blind give-back
  return gone
end

local function settle(keys, args)
  local meta_key, stock_key, holds_key, claims_key, keys_key, granting_key, grants_key, spent_key, news_key = unpack(keys)
  local epoch, mark, granted_rows = whole(args[1]), whole(args[2]), whole(args[3])
  local count = (#args - ARGUMENTS) / FIELDS_PER_ROW
  if not epoch or not mark or not granted_rows or count < 1 or count % 1 ~= 0 or count > ROWS_MAX then
    return bad_call('settle: malformed batch')
  end
  local image, line, problem = line_of(epoch, meta_key, stock_key)
  if not image then
    return { problem }
  end
  local found = find(grants_key, args, granted_rows)
  if #found.users == 0 then
    return { 'settled', 0 }
  end

  -- Every key is looked at before one is written: should one have a wrong type, nothing has changed yet.
  redis.call('ZCARD', granting_key)
  redis.call('HLEN', spent_key)
  redis.call('HLEN', holds_key)
  redis.call('HLEN', claims_key)
  redis.call('HLEN', keys_key)
  redis.call('LLEN', news_key)
  -- Point of no return.
  redis.call('ZREM', granting_key, unpack(found.users))
  redis.call('HDEL', grants_key, unpack(found.users))
  redis.call('HSET', spent_key, unpack(found.spent))
  local held = image.held
  if #found.refused > 0 then
    held = held - give_back(stock_key, holds_key, claims_key, keys_key, found.refused)
  end
  local news = tell(news_key, line, found.items)
  redis.call('HSET', meta_key, 'held', held, 'tick', image.tick + 1, 'news', news, 'mark', math.max(line.mark, mark))
  return { 'settled', #found.users }
end

register('settle', settle)
