-- The ledger: who owns what. The promises are constraints, and each names the one it keeps.
--
-- Lock order, everywhere: flash_sales row, then sale_orders rows, then payments rows.
-- Whoever changes stock locks the sale's row first, so the stock changes of one sale happen one after the other:
-- nothing deadlocks, an epoch that was raised is seen by the next writer, and the log has one writer.
-- The lock is `for no key update`: stronger ones would also wait for rows that only refer to the sale.
-- Orders, allowances and the log have no foreign key to their sale: they are written by functions that have locked its
-- row, sales are never deleted, and checking the key of every row again would double the cost of a commit.
-- Times are kept to the millisecond, the grain of everything that is shown or hashed.

create table flash_sales (
    sale_id uuid primary key,
    product_id text not null check (product_id <> ''),
    title text not null check (title <> ''),
    quantity_available integer not null check (quantity_available >= 0),
    -- units reserved or paid
    quantity_sold integer not null default 0,
    -- units paid
    quantity_paid integer not null default 0,
    price_cents bigint not null check (price_cents >= 0),
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    start_time timestamptz not null,
    end_time timestamptz not null,
    mode text not null check (mode in ('race', 'queue', 'draw')),
    payment_mode text not null check (payment_mode in ('checkout', 'auto', 'external')),
    per_user_limit integer not null check (per_user_limit > 0),
    checkout_ttl_seconds integer not null check (checkout_ttl_seconds > 0),
    payment_attempts integer not null check (payment_attempts > 0),
    status text not null default 'SCHEDULED'
        check (status in ('SCHEDULED', 'ACTIVE', 'SOLD_OUT', 'PAUSED', 'ENDED', 'CANCELLED')),
    -- 0: there has not been an image yet. A commit names its epoch and fails under any other (I12)
    epoch bigint not null default 0 check (epoch >= 0),
    -- the highest tick of this epoch's image that a committed batch has carried: an image below it went back in time
    tick_seen bigint not null default 0,
    -- the server process that holds the published image; empty while there is none
    image_run_id text not null default '',
    -- why the image must not be trusted; empty while it may be
    rebuild_reason text not null default '',
    log_size bigint not null default 0 check (log_size >= 0),
    log_head bytea not null check (octet_length(log_head) = 32),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint sold_within_available check (quantity_sold between 0 and quantity_available),  -- I1
    constraint paid_within_sold check (quantity_paid between 0 and quantity_sold),
    constraint window_is_open check (start_time < end_time),
    -- SOLD_OUT is said exactly of a sale that has nothing free
    constraint sold_out_is_true check (status <> 'SOLD_OUT' or quantity_sold = quantity_available)  -- I14
)
-- Every commit writes its sale's row: room on the page keeps those updates out of the indexes.
with (fillfactor = 20);

create table sale_orders (
    -- the id of the hold it was made of
    order_id uuid primary key,
    sale_id uuid not null,
    user_id text collate "C" not null check (length(user_id) between 1 and 200),
    quantity integer not null check (quantity > 0),
    amount_cents bigint not null check (amount_cents >= 0),
    currency text not null,
    status text not null check (status in ('RESERVED', 'PAID', 'CANCELLED', 'EXPIRED')),
    reserved_at timestamptz not null,
    expires_at timestamptz not null,
    -- null: a tombstone, which answers no key (I12)
    idempotency_key text collate "C",
    body_digest text not null default '',
    -- when it was no longer RESERVED, by whom and why
    closed_at timestamptz,
    closed_by text,
    close_reason text,
    -- a paid order whose units went back on sale with its refund
    returned_at timestamptz,
    constraint closed_has_time check ((status = 'RESERVED') = (closed_at is null)),
    constraint only_paid_is_returned check (returned_at is null or status = 'PAID'),
    constraint tombstone_is_dead check (idempotency_key is not null or status = 'CANCELLED')  -- I12
);

-- I5: one order per buyer and key.
create unique index sale_orders_key on sale_orders (sale_id, user_id, idempotency_key)
    where idempotency_key is not null;
-- What expires next.
create index sale_orders_due on sale_orders (sale_id, expires_at) where status = 'RESERVED';
-- Pages, counts and images of one sale.
create index sale_orders_of_sale on sale_orders (sale_id, status, order_id);

-- Units held or bought by each buyer: the allowance (I6). The guard is in the upsert of commit_holds.
create table user_sale_eligibility (
    user_id text collate "C" not null check (length(user_id) between 1 and 200),
    sale_id uuid not null,
    quantity_purchased integer not null check (quantity_purchased >= 0),
    purchased_at timestamptz not null,
    primary key (sale_id, user_id)
);

create table payments (
    payment_id uuid primary key,
    order_id uuid not null references sale_orders,
    sale_id uuid not null references flash_sales,
    attempt integer not null check (attempt > 0),
    gateway text not null,
    payment_method text not null,
    state text not null check (
        state in (
            'INTENT', 'SENT', 'AUTHORIZED', 'DECLINED', 'CAPTURING', 'CAPTURED', 'VOIDING', 'VOIDED',
            'REFUND_DUE', 'REFUNDED'
        )
    ),
    amount_cents bigint not null check (amount_cents >= 0),
    currency text not null,
    -- the buyer's key of this request, and the hash of its body
    idempotency_key text not null,
    body_digest text not null default '',
    -- the key the gateway is called with, derived from committed columns
    gateway_key text not null unique,
    gateway_ref text,
    decline_reason text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    unique (order_id, attempt)
);

-- One attempt at a time; an order that has one neither expires nor is cancelled (I7, I8).
create unique index payments_open on payments (order_id)
    where state in ('INTENT', 'SENT', 'AUTHORIZED', 'CAPTURING', 'VOIDING');

-- Append-only and hash-chained (I15); written by append_log alone. It names no buyer.
create table sale_log (
    sale_id uuid not null,
    seq bigint not null check (seq > 0),
    kind text not null check (
        kind in ('created', 'stock', 'reserved', 'paid', 'cancelled', 'expired', 'refunded', 'epoch')
    ),
    order_id uuid,
    quantity integer not null,
    epoch bigint not null,
    -- milliseconds, as they were hashed
    at_ms bigint not null,
    hash bytea not null check (octet_length(hash) = 32),
    primary key (sale_id, seq)
);

-- Units given back here and not yet in Valkey (R8). A row is deleted when the counter has them.
create table sale_releases (
    release_id bigint generated always as identity primary key,
    sale_id uuid not null references flash_sales,
    -- unique: a unit is given back once (A4)
    hold_id uuid not null unique,
    user_id text collate "C" not null,
    epoch bigint not null,
    -- the buyer was never given an order for it, so the key may be used again
    forget_key boolean not null,
    created_at timestamptz not null
);
create index sale_releases_of_sale on sale_releases (sale_id);

create table sale_blocklist (
    sale_id uuid not null references flash_sales,
    user_id text collate "C" not null,
    blocked_at timestamptz not null,
    blocked_by text not null,
    reason text not null default '',
    primary key (sale_id, user_id)
);

-- What was done to a sale, by whom and why.
create table sale_actions (
    action_id bigint generated always as identity primary key,
    sale_id uuid not null references flash_sales,
    action text not null,
    actor text not null,
    reason text not null default '',
    detail jsonb not null default '{}',
    at timestamptz not null
);
create index sale_actions_of_sale on sale_actions (sale_id, action_id);

create table sale_audits (
    audit_id bigint generated always as identity primary key,
    sale_id uuid not null references flash_sales,
    verdict text not null check (verdict in ('in_step', 'drifted', 'unknown')),
    epoch bigint not null,
    at timestamptz not null,
    actor text not null,
    reason text not null default '',
    report jsonb not null
);
create index sale_audits_of_sale on sale_audits (sale_id, audit_id);

-- I13 and I15 hold for a hand-written statement too.
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% of % is refused: %', lower(tg_op), tg_table_name, tg_argv[0] using errcode = '23514';
end
$$;

create trigger sale_log_append_only before update or delete on sale_log
    for each row execute function refuse_change('the log only grows (I15)');
create trigger sale_log_kept before truncate on sale_log
    execute function refuse_change('the log only grows (I15)');
create trigger flash_sales_kept before delete or truncate on flash_sales
    execute function refuse_change('orders and the log refer to it');
create trigger sale_orders_arrows before update of status on sale_orders
    for each row when (old.status <> 'RESERVED' and new.status <> old.status)
    execute function refuse_change('a closed order stays closed (I13)');
create trigger flash_sales_arrows before update of status on flash_sales
    for each row when (old.status in ('ENDED', 'CANCELLED') and new.status <> old.status)
    execute function refuse_change('a sale that is over stays over (I13)');
