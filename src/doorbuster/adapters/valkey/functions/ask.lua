-- ask: lets buyers join the line and tells each a place, for a batch in one atomic step (Q1 to Q3)
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   claims      buyer to units held or bought
--   blocked     buyers who may not take part
--   queue       buyers who wait, by their numbers
--   granting    buyers whose unit is taken and whose order is not settled, by their numbers
--   spent       buyer to the highest number that waits no longer
--   news        changes of the line
-- Arguments:
--   epoch_min   lowest epoch the caller believes
--   now_ms      milliseconds, the database's clock
--   paid        units paid for, as far as the caller knows
-- Columns:
--   user_id     the buyers
--   join        1 to join, 0 only to ask
--   ticket      number of a ticket whose seal was checked; 0 for none
--   done        number of an earlier grant that is no reason any more not to join again; 0 for none
-- Replies:
--   no_image    there is no image that can be believed; nothing was read as a number
--   stale_epoch the image is older than epoch_min; then epoch, available, stock, tick
--   placed      then epoch, available, stock, tick, waiting, number of the last change told, and one word per row:
--               ahead, not_started, over, blocked, limit, sold_out, full, no_numbers, absent; or with US and more:
--               waiting, granting and joined with number and position, granted with number and hold id, left with
--               number
-- Invariants:
--   a buyer is in the line once; a number is issued once, and never above high (Q2)
--   a place that was there is answered before anything could refuse it
-- Cost:
--   8 calls to read and 5 to write, and one look-up in the queue per row that waits; a row that waits already reads
--   nothing else; at most ROWS_MAX rows

local ARGUMENTS, COLUMNS = 3, 4

local function closed_word(image, now_ms)
  if now_ms < image.opens and image.state ~= 'over' then
    return 'not_started'
  end
  if image.state == 'over' or now_ms >= image.ends then
    return 'over'
  end
  return nil
end

-- Why nobody can join now, whoever asks; nil if one more can.
local function refused_word(image, line, paid, waiting, being_granted, ended)
  if ended then
    return 'sold_out' -- the ledger knew that every unit is paid for, whatever this caller knows
  end
  if image.stock == 0 and paid >= image.available and being_granted == 0 then
    return 'sold_out' -- I14
  end
  if line.standby >= 0 and waiting >= image.stock + line.standby then
    return 'full'
  end
  if line.next >= line.high then
    return 'no_numbers' -- Q2
  end
  return nil
end

-- Whether the line was ended and nothing has come back since: nobody has joined, and no unit is free.
local function has_ended(image, line)
  return line.ended > 0 and line.ended == line.next and image.stock == 0
end

-- What is known of the buyers of a batch. `spent`, `claims` and `blocked` are read only of those in `rest_at`: whoever
-- waits, with the number of the ticket or a better one, goes on waiting whatever they say.
local function read_rows(args, count, claims_key, blocked_key, queue_key, granting_key, spent_key)
  local first, last, ticket_at = ARGUMENTS + 1, ARGUMENTS + count, ARGUMENTS + 2 * count
  local rows = {
    numbers = redis.call('ZMSCORE', queue_key, unpack(args, first, last)),
    waiting = redis.call('ZCARD', queue_key),
    being_granted = redis.call('ZCARD', granting_key),
    unsettled = {}, spent = {}, claims = {}, blocked = {}, rest_at = {}, last_places = {},
  }
  if rows.being_granted > 0 then
    rows.unsettled = redis.call('ZMSCORE', granting_key, unpack(args, first, last))
  end
  local rest, numbers = {}, rows.numbers
  for row = 1, count do
    local number, ticket = numbers[row], args[ticket_at + row]
    if not number or (ticket ~= '0' and ticket ~= number) then
      rest[#rest + 1] = args[ARGUMENTS + row]
      rows.rest_at[row] = #rest
    end
  end
  if #rest > 0 then
    rows.spent = redis.call('HMGET', spent_key, unpack(rest))
    rows.claims = redis.call('HMGET', claims_key, unpack(rest))
    rows.blocked = redis.call('SMISMEMBER', blocked_key, unpack(rest))
  end
  return rows
end

-- Units a buyer has claimed; a count that cannot be read is no permission.
local function units_of(claims, image)
  return not claims and 0 or tonumber(claims) or image.limit
end

-- Answers every row in turn, each on what those before it have left; nothing is written yet. Places come as the word
-- alone: number and position follow when the queue is written.
local function decide(image, line, now_ms, paid, args, count, rows)
  local join_at, ticket_at, done_at = ARGUMENTS + count, ARGUMENTS + 2 * count, ARGUMENTS + 3 * count
  local closed, issued, ended = closed_word(image, now_ms), line.next, has_ended(image, line)
  local words, members, items, new_numbers = {}, {}, {}, {}
  for row = 1, count do
    local user_id, at = args[ARGUMENTS + row], rows.rest_at[row]
    if not at then
      words[row] = 'waiting'
    else
      local ticket, wants = tonumber(args[ticket_at + row]) or 0, args[join_at + row] == '1'
      local number = tonumber(new_numbers[user_id] or rows.numbers[row])
      local spent_number, spent_hold = 0, ''
      if rows.spent[at] then
        spent_number, spent_hold = unpack_spent(rows.spent[at])
      end
      if ticket > issued then
        words[row] = 'ahead'
      elseif rows.unsettled[row] then
        words[row] = 'granting'
      elseif ticket > spent_number and ticket > line.ended and (not number or ticket < number) then
        -- A place that was lost with an older image, or the better one of two of the same buyer.
        members[#members + 1] = ticket
        members[#members + 1] = user_id
        items[#items + 1] = 'back' .. US .. ticket .. US .. user_id .. US
        if not number then
          rows.waiting = rows.waiting + 1
        end
        new_numbers[user_id] = ticket
        words[row] = 'waiting'
      elseif number then
        words[row] = 'waiting'
      elseif spent_hold ~= '' and (not wants or spent_number > (tonumber(args[done_at + row]) or 0)) then
        words[row] = 'granted' .. US .. spent_number .. US .. spent_hold
      elseif not wants then
        words[row] = spent_number > 0 and 'left' .. US .. spent_number or ended and 'over' or 'absent'
      elseif closed then
        words[row] = closed
      elseif rows.blocked[at] == 1 then
        words[row] = 'blocked'
      elseif units_of(rows.claims[at], image) + 1 > image.limit then -- I6
        words[row] = 'limit'
      else
        words[row] = refused_word(image, line, paid, rows.waiting, rows.being_granted, ended)
        if not words[row] then
          line.next = line.next + 1
          rows.waiting = rows.waiting + 1
          members[#members + 1] = line.next
          members[#members + 1] = user_id
          new_numbers[user_id] = line.next
          words[row] = 'joined'
          rows.last_places[row] = rows.waiting
        end
      end
    end
  end
  return words, members, items, new_numbers
end

local function ask(keys, args)
  local meta_key, stock_key, claims_key, blocked_key, queue_key, granting_key, spent_key, news_key = unpack(keys)
  local epoch_min, now_ms, paid = whole(args[1]), whole(args[2]), whole(args[3])
  local count = (#args - ARGUMENTS) / COLUMNS
  if not epoch_min or not now_ms or not paid or count < 1 or count % 1 ~= 0 or count > ROWS_MAX then
    return bad_call('ask: malformed batch')
  end
  local image = read_image(meta_key, stock_key)
  local line = image and read_line(meta_key)
  if not line then
    return { 'no_image' }
  end
  if image.epoch < epoch_min then -- I12
    return { 'stale_epoch', image.epoch, image.available, image.stock, image.tick }
  end
  local rows = read_rows(args, count, claims_key, blocked_key, queue_key, granting_key, spent_key)
  local words, members, items, new_numbers = decide(image, line, now_ms, paid, args, count, rows)

  -- Point of no return. The news come first: should their key have a wrong type, nothing has changed yet.
  if #items > 0 then
    tell(news_key, line, items)
  end
  if #members > 0 then
    redis.call('ZADD', queue_key, 'LT', unpack(members))
    image.tick = image.tick + 1
    redis.call('HSET', meta_key, 'next', line.next, 'tick', image.tick, 'news', line.news)
  end
  local before = rows.being_granted
  local reply = {
    'placed', image.epoch, image.available, image.stock, image.tick, rows.waiting + before, line.news,
  }
  for row = 1, count do
    local word, user_id = words[row], args[ARGUMENTS + row]
    if word == 'waiting' or word == 'joined' then
      local number = new_numbers[user_id] or rows.numbers[row]
      -- Who joined stood last, unless somebody behind in the batch came back to a place further in front.
      local place = #items == 0 and rows.last_places[row] or redis.call('ZRANK', queue_key, user_id) + 1
      word = word .. US .. number .. US .. before + place
    elseif word == 'granting' then
      word = word .. US .. rows.unsettled[row] .. US .. redis.call('ZRANK', granting_key, user_id) + 1
    end
    reply[7 + row] = word
  end
  return reply
end

register('ask', ask)
