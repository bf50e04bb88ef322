-- What the ledger remembers of lines. The promises are constraints, and each names the one it keeps.
--
-- The line itself is Valkey's. Here are only the marks that may never fall, the number each order was granted for, and
-- which numbers are given up: with the tickets of those who wait, enough to make the line anew.

alter table flash_sales
    -- how many may wait beyond the free units; null: as many as like
    add column standby_limit integer check (standby_limit >= 0),
    -- a grant whose buyer is not seen for this long ends early; null: never
    add column claim_window_seconds integer check (claim_window_seconds > 0),
    add column entry_opens_at timestamptz,
    add column beacon_round bigint check (beacon_round > 0),
    -- bounds every number that may have been issued (Q2)
    add column number_high bigint not null default 0,
    -- the highest number that was granted (Q4)
    add column granted_mark bigint not null default 0,
    -- numbers up to here wait for nothing any more (Q6)
    add column ended_number bigint not null default 0,
    -- entries of a draw, once its list is closed
    add column draw_size integer,
    -- when the order of a draw was stored
    add column drawn_at timestamptz,
    -- orders that are paid for, and orders that ended otherwise: kept, because they are asked for every second
    add column orders_paid bigint not null default 0 check (orders_paid >= 0),
    add column orders_returned bigint not null default 0 check (orders_returned >= 0),
    add constraint marks_within_numbers check (
        granted_mark between 0 and number_high and ended_number between 0 and number_high
    ),  -- I10
    add constraint draw_within_numbers check (draw_size between 0 and number_high),
    add constraint drawn_is_closed check (drawn_at is null or draw_size is not null);

update flash_sales s
set orders_paid = o.paid, orders_returned = o.returned
from (
    select
        sale_id,
        count(*) filter (where status = 'PAID' and returned_at is null) as paid,
        count(*) filter (where status in ('CANCELLED', 'EXPIRED') or returned_at is not null) as returned
    from sale_orders
    where idempotency_key is not null  -- a tombstone never was anybody's order
    group by sale_id
) o
where o.sale_id = s.sale_id;

-- I10 for a hand-written statement too: a mark that falls would let a number be issued, granted or hoped for twice.
create trigger flash_sales_marks before update of number_high, granted_mark, ended_number on flash_sales
    for each row when (
        new.number_high < old.number_high
        or new.granted_mark < old.granted_mark
        or new.ended_number < old.ended_number
    )
    execute function refuse_change('marks of a line never fall (I10)');
create trigger flash_sales_drawn before update of draw_size, drawn_at on flash_sales
    for each row when (
        old.draw_size is not null and new.draw_size is distinct from old.draw_size
        or old.drawn_at is not null and new.drawn_at is distinct from old.drawn_at
    )
    execute function refuse_change('a draw is closed once and held once (I10)');

alter table sale_orders
    -- the number it was granted for; null: it was taken in a race
    add column line_number bigint check (line_number > 0),
    -- when its buyer was first seen with it
    add column claimed_at timestamptz;

-- I10: a number is never granted twice. Orders of races are in neither index and pay nothing for them.
create unique index sale_orders_number on sale_orders (sale_id, line_number) where line_number is not null;
-- Grants whose buyer was not seen yet, the oldest first.
create index sale_orders_unclaimed on sale_orders (sale_id, reserved_at)
    where status = 'RESERVED' and line_number is not null and claimed_at is null;
create trigger sale_orders_numbers before update of line_number on sale_orders
    for each row when (new.line_number is distinct from old.line_number)
    execute function refuse_change('an order keeps the number it was granted for (I10)');

-- The highest number each buyer has given up: a ticket with it, or a lower one, brings nothing back.
create table sale_line_left (
    sale_id uuid not null,
    user_id text collate "C" not null check (length(user_id) between 1 and 200),
    number bigint not null check (number > 0),
    left_at timestamptz not null,
    primary key (sale_id, user_id)
);
create trigger sale_line_left_marks before update on sale_line_left
    for each row when (new.number < old.number)
    execute function refuse_change('what was given up stays given up (I10)');

-- Orders granted and units that came back, second by second, of sales with a line; the last minutes only. It is told
-- from, never decided from.
create table sale_pulse (
    sale_id uuid not null,
    second bigint not null,
    granted bigint not null default 0,
    returned bigint not null default 0,
    primary key (sale_id, second)
);

-- Secrets that seal tickets. A new one is a new row: tickets of the older keys stay good while their rows are there.
create table sealing_keys (
    key_id text primary key check (key_id ~ '^[a-z0-9]{1,16}$'),
    secret bytea not null check (octet_length(secret) = 32),
    made_at timestamptz not null
);
