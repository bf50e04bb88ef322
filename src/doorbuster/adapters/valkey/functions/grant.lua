-- grant: takes the heads of the line and a unit for each, in one atomic step (Q5)
--
-- Keys:
--   meta        the published head of the image
--   stock       free units
--   holds       hold id to its record
--   claims      buyer to units held or bought
--   keys        buyer and idempotency key to hold id and digest
--   blocked     buyers who may not take part
--   queue       buyers who wait, by their numbers
--   granting    buyers whose unit is taken and whose order is not settled, by their numbers
--   grants      buyer to hold id and time of such a unit
--   spent       buyer to the highest number that waits no longer
--   news        changes of the line
-- Arguments:
--   epoch       the epoch of the image
--   now_ms      milliseconds, the database's clock
-- Rows:
--   hold_id     ids of the holds to make; never used before
-- Replies:
--   grants      then tick, stock, waiting, heads dropped, and number, buyer, hold id and time of every unsettled grant
--   closed      nothing is granted now, and nothing is unsettled
--   no_image    there is no image that can be believed
--   other_epoch the image has another epoch; nothing was changed
-- Invariants:
--   new heads are taken only when nothing is unsettled: so every caller commits the head of the line (I10)
--   stock falls by exactly the units taken and never below 0 (I1); a buyer's claims never exceed limit (I6)
-- Cost:
--   14 calls to read and 12 to write; at most ROWS_MAX rows

-- Heads that are looked at beyond the free units, because some may have to be dropped.
local SPARE = 50
local DIGEST = 'line'

-- The heads of the line that may have a unit, and those that may not any more.
local function choose(queue_key, claims_key, blocked_key, limit, wanted)
  local heads = redis.call('ZRANGE', queue_key, 0, wanted + SPARE - 1, 'WITHSCORES')
  local users = {}
  for at = 1, #heads, 2 do
    users[#users + 1] = heads[at]
  end
  local chosen, dropped = {}, {}
  if #users == 0 then
    return chosen, dropped
  end
  local claims = redis.call('HMGET', claims_key, unpack(users))
  local blocked = redis.call('SMISMEMBER', blocked_key, unpack(users))
  for at, user_id in ipairs(users) do
    local head = { user_id = user_id, number = heads[2 * at], claims = tonumber(claims[at] or 0) }
    if blocked[at] == 1 or not head.claims or head.claims + 1 > limit then
      dropped[#dropped + 1] = head
    elseif #chosen < wanted then
      chosen[#chosen + 1] = head
    else
      break
    end
  end
  return chosen, dropped
end

-- What `drop` and `hold` write to and nothing has read yet: should a key have a wrong type, the call ends here.
local function probe(holds_key, keys_key, grants_key, spent_key, news_key)
  redis.call('HLEN', holds_key)
  redis.call('HLEN', keys_key)
  redis.call('HLEN', grants_key)
  redis.call('HLEN', spent_key)
  redis.call('LLEN', news_key)
end

local function drop(queue_key, spent_key, news_key, line, dropped)
  local users, spent, items = {}, {}, {}
  for at, head in ipairs(dropped) do
    users[at] = head.user_id
    spent[2 * at - 1], spent[2 * at] = head.user_id, pack_spent(head.number, '')
    items[at] = 'gone' .. US .. head.number .. US .. head.user_id .. US
  end
  redis.call('ZREM', queue_key, unpack(users))
  redis.call('HSET', spent_key, unpack(spent))
  tell(news_key, line, items)
end

-- What is to be written for those who are chosen, by kind of key.
local function draft_holds(chosen, hold_ids, now_text)
  local users, holds, claims, asks, numbers, grants = {}, {}, {}, {}, {}, {}
  for at, head in ipairs(chosen) do
    local user_id, hold_id, odd, even = head.user_id, hold_ids[at], 2 * at - 1, 2 * at
    local user_key = user_id .. US .. 'line-' .. head.number
    users[at] = user_id
    holds[odd], holds[even] = hold_id, pack_hold(user_key, 1, now_text, DIGEST)
    claims[odd], claims[even] = user_id, head.claims + 1
    asks[odd], asks[even] = user_key, hold_id .. US .. DIGEST
    numbers[odd], numbers[even] = head.number, user_id
    grants[odd], grants[even] = user_id, hold_id .. US .. now_text
  end
  return users, holds, claims, asks, numbers, grants
end

local function unsettled_of(granting_key, grants_key)
  local numbers = redis.call('ZRANGE', granting_key, 0, -1, 'WITHSCORES')
  local found, users = {}, {}
  for at = 1, #numbers, 2 do
    users[#users + 1] = numbers[at]
  end
  if #users == 0 then
    return found
  end
  for at, record in ipairs(redis.call('HMGET', grants_key, unpack(users))) do
    local hold_id, since_ms = string.match(record or '', '^(.*)\31(%-?%d+)$')
    if hold_id then
      found[#found + 1] = numbers[2 * at]
      found[#found + 1] = users[at]
      found[#found + 1] = hold_id
      found[#found + 1] = since_ms
    end
  end
  return found
end

local function grant(keys, args)
  local meta_key, stock_key, holds_key, claims_key, keys_key, blocked_key,
    queue_key, granting_key, grants_key, spent_key, news_key = unpack(keys)
  local epoch, now_ms = whole(args[1]), whole(args[2])
  if not epoch or not now_ms or #args < 2 or #args - 2 > ROWS_MAX then
    return bad_call('grant: malformed call')
  end
  local image, line, problem = line_of(epoch, meta_key, stock_key)
  if not image then
    return { problem }
  end

  local dropped = {}
  if redis.call('ZCARD', granting_key) == 0 then
    if image.state ~= 'selling' or now_ms < image.opens or now_ms >= image.ends or now_ms < line.moves then
      return { 'closed' }
    end
    local hold_ids, chosen = { unpack(args, 3) }, {}
    local wanted = math.min(#hold_ids, image.stock)
    if wanted > 0 then
      chosen, dropped = choose(queue_key, claims_key, blocked_key, image.limit, wanted)
      probe(holds_key, keys_key, grants_key, spent_key, news_key)
    end
    -- Point of no return.
    if #dropped > 0 then
      drop(queue_key, spent_key, news_key, line, dropped)
    end
    if #chosen > 0 then
      local users, holds, claims, asks, numbers, grants = draft_holds(chosen, hold_ids, args[2])
      redis.call('ZREM', queue_key, unpack(users))
      redis.call('ZADD', granting_key, unpack(numbers))
      redis.call('HSET', grants_key, unpack(grants))
      redis.call('HSET', holds_key, unpack(holds))
      redis.call('HSET', claims_key, unpack(claims))
      redis.call('HSET', keys_key, unpack(asks))
      redis.call('DECRBY', stock_key, #users) -- I1
      image.stock, image.held = image.stock - #chosen, image.held + #chosen
    end
    if #chosen + #dropped > 0 then
      image.tick = image.tick + 1
      redis.call('HSET', meta_key, 'held', image.held, 'tick', image.tick, 'news', line.news)
    end
  end
  local found = unsettled_of(granting_key, grants_key)
  local waiting = redis.call('ZCARD', queue_key) + redis.call('ZCARD', granting_key)
  return { 'grants', image.tick, image.stock, waiting, #dropped, unpack(found) }
end

register('grant', grant)
