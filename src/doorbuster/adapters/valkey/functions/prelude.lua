-- prelude: what every function of the library shares; it registers nothing itself
--
-- Library names and function names carry VERSION, so that the libraries of an old and a new release stand side by
-- side in one server and gates of both decide about the same keys during an upgrade.

-- Separates fields packed into one string. The callers refuse texts that contain it.
local US = '\31'

-- Rows in one call. Bounds the work of a call, and stays below what unpack can put on Lua's stack.
local ROWS_MAX = 1000

local STATES = { selling = true, paused = true, over = true }

local function register(name, callback, flags)
  redis.register_function({
    function_name = 'doorbuster_v' .. VERSION .. '_' .. name,
    callback = callback,
    flags = flags or {},
  })
end

-- A call that no honest caller makes. Nothing has been written when it is answered.
local function bad_call(reason)
  return redis.error_reply('BADCALL ' .. reason)
end

local function whole(text)
  local number = tonumber(text)
  if number and number % 1 == 0 then
    return number
  end
  return nil
end

-- The published image, or nil when there is none that can be believed. A stock key that is missing, is not a whole
-- number or has another type is no image: it is never read as 0 (a bare counter would).
local function read_image(meta_key, stock_key)
  local meta = redis.pcall('HMGET', meta_key, 'epoch', 'state', 'opens', 'ends', 'limit', 'available', 'held', 'tick')
  if meta.err or not meta[1] then
    return nil
  end
  local stock = redis.pcall('GET', stock_key)
  if type(stock) ~= 'string' or #stock > 15 or not string.find(stock, '^%d+$') then
    return nil
  end
  local image = {
    epoch = whole(meta[1]),
    state = meta[2],
    opens = whole(meta[3]),
    ends = whole(meta[4]),
    limit = whole(meta[5]),
    available = whole(meta[6]),
    held = whole(meta[7]),
    tick = whole(meta[8]),
    stock = tonumber(stock),
  }
  if STATES[image.state] and image.epoch and image.opens and image.ends and image.limit
      and image.available and image.held and image.tick then
    return image
  end
  return nil
end

-- The image if it is of this epoch, else nil and the word that says why not.
local function image_of(epoch, meta_key, stock_key)
  local image = read_image(meta_key, stock_key)
  if not image then
    return nil, 'no_image'
  end
  if image.epoch ~= epoch then
    return nil, 'other_epoch'
  end
  return image
end

-- user_key is buyer, US and idempotency key: also the field under which the key is kept.
local function pack_hold(user_key, quantity, since_ms, digest)
  return user_key .. US .. quantity .. US .. since_ms .. US .. digest
end

-- Buyer, idempotency key and quantity of a packed hold; nil when it is not one.
local function unpack_hold(record)
  return string.match(record, '^([^\31]*)\31([^\31]*)\31(%d+)\31%-?%d+\31')
end

-- The line's part of the head, or nil when it cannot be believed: a count that is missing is never read as 0, or a
-- number would be issued twice. An image of a race has none of it: then no number can be issued.
local function read_line(meta_key)
  local head = redis.call('HMGET', meta_key, 'standby', 'next', 'high', 'moves', 'ended', 'news', 'mark')
  local standby, race = whole(head[1]), true
  for at = 2, 7 do
    race = race and not head[at]
  end
  if standby and race then
    return { standby = standby, race = true, next = 0, high = 0, moves = 0, ended = 0, news = 0, mark = 0 }
  end
  local line = {
    standby = standby,
    next = whole(head[2]),
    high = whole(head[3]),
    moves = whole(head[4]),
    ended = whole(head[5]),
    news = whole(head[6]),
    mark = whole(head[7]),
  }
  if standby and line.next and line.high and line.moves and line.ended and line.news and line.mark then
    return line
  end
  return nil
end

-- The image of this epoch and its line, else nil, nil and the word that says why not.
local function line_of(epoch, meta_key, stock_key)
  local image, problem = image_of(epoch, meta_key, stock_key)
  if not image then
    return nil, nil, problem
  end
  local line = read_line(meta_key)
  if not line then
    return nil, nil, 'no_image'
  end
  return image, line
end

-- Changes of a line that readers may be behind.
local NEWS_KEPT = 10000

-- Appends packed changes and returns the number of the last one; the caller writes it to the head.
local function tell(news_key, line, items)
  redis.call('RPUSH', news_key, unpack(items))
  redis.call('LTRIM', news_key, -NEWS_KEPT, -1)
  line.news = line.news + #items
  return line.news
end

-- A number that waits no longer, and the order it became; no order: it was given up.
local function pack_spent(number, hold_id)
  return number .. US .. hold_id
end

local function unpack_spent(record)
  local number, hold_id = string.match(record or '', '^(%d+)\31(.*)$')
  return tonumber(number) or 0, hold_id or ''
end
