-- External payment: what the shop reports, and the keys passes are signed with.
--
-- Locks: the sale's row first, then its order, as everywhere: a report, an expiry and a cancellation of one order happen
-- one after the other, and each sees what the one before has made of it.

-- One payment of the shop's pays for one order of a sale.
create unique index payments_reference on payments (sale_id, gateway_ref) where gateway = 'external';

-- Reports that could not be followed: too late, or against what is known. The same one again is the same row.
create table payment_reports (
    report_id uuid primary key,
    sale_id uuid not null references flash_sales,
    order_id uuid not null references sale_orders,
    kind text not null check (kind in ('paid', 'cancelled')),
    reference text collate "C" not null,
    -- what the report said, where it did
    amount_cents bigint,
    currency text,
    -- the word it was answered with
    answer text not null,
    at timestamptz not null,
    last_at timestamptz not null,
    times integer not null default 1,
    actor text not null,
    reason text not null
);
create unique index payment_reports_same on payment_reports (order_id, kind, reference, answer);
create index payment_reports_of_sale on payment_reports (sale_id, report_id);

create function note_report(
    p_report_id uuid, p_order sale_orders, p_kind text, p_reference text, p_cents bigint, p_currency text,
    p_answer text, p_by text, p_reason text
) returns void language sql
begin atomic
    insert into payment_reports as r (
        report_id, sale_id, order_id, kind, reference, amount_cents, currency, answer, at, last_at, actor, reason
    )
    values (
        p_report_id, p_order.sale_id, p_order.order_id, p_kind, p_reference, p_cents, p_currency, p_answer,
        clock_ms(), clock_ms(), p_by, p_reason
    )
    on conflict (order_id, kind, reference, answer) do update
    set times = r.times + 1, last_at = excluded.last_at, amount_cents = excluded.amount_cents,
        currency = excluded.currency, actor = excluded.actor, reason = excluded.reason;
end;

-- The shop has the money of an order. Words: ReportWord in engine/external.py, in their precedence; with the order as it
-- is afterwards and, for `reference_taken`, the order that has the reference. RESERVED is what counts, not the clock: as
-- long as nobody has ended the order its unit is the buyer's.
create function report_paid(
    p_report_id uuid, p_order_id uuid, p_reference text, p_cents bigint, p_currency text, p_by text, p_reason text
) returns table (word text, taken_by uuid, shown order_view) language plpgsql
set enable_seqscan = off set plan_cache_mode = force_generic_plan
as $$
declare
    v_order sale_orders;
    v_sale flash_sales;
    v_owner uuid;
    v_word text;
begin
    perform make_it_last();
    select * into v_order from sale_orders where order_id = p_order_id and idempotency_key is not null;
    if not found then
        return query select 'not_found'::text, null::uuid, null::order_view;
        return;
    end if;
    select * into strict v_sale from flash_sales where sale_id = v_order.sale_id for no key update;
    select * into strict v_order from sale_orders where order_id = p_order_id;  -- nobody moves it from here on
    select p.order_id into v_owner from payments p
    where p.sale_id = v_sale.sale_id and p.gateway = 'external' and p.gateway_ref = p_reference;

    v_word := case
        when v_sale.payment_mode <> 'external' then 'elsewhere'
        when v_owner <> p_order_id then 'reference_taken'  -- I7
        when v_order.status = 'PAID' and v_owner is null then 'other_reference'  -- I8
        when v_order.status not in ('RESERVED', 'PAID') then 'order_closed'
        when v_order.status = 'RESERVED' and v_sale.status = 'CANCELLED' then 'sale_aborted'
        when p_cents <> v_order.amount_cents or p_currency <> v_order.currency then 'differs'  -- I9
        when v_order.status = 'PAID' then 'same'
        else 'paid'
    end;
    if v_word = 'paid' then
        insert into payments (
            payment_id, order_id, sale_id, attempt, gateway, payment_method, state, amount_cents, currency,
            idempotency_key, gateway_key, gateway_ref, created_at, updated_at
        )
        select
            p_report_id, p_order_id, v_sale.sale_id, past.attempt, 'external', 'external', 'CAPTURED',
            v_order.amount_cents, v_order.currency, p_reference,  -- I9
            gateway_key(
                v_sale.sale_id, p_order_id, past.attempt, 'authorize', v_order.amount_cents, v_order.currency
            ),
            p_reference, clock_ms(), clock_ms()
        from (select count(*)::integer + 1 as attempt from payments p where p.order_id = p_order_id) past;
        perform pay_orders(v_sale.sale_id, array[p_order_id]);
        perform note_action(
            v_sale.sale_id, 'paid outside', p_by, p_reason,
            jsonb_build_object('order_id', p_order_id, 'reference', p_reference)
        );
    elsif v_word not in ('same', 'elsewhere') then
        perform note_report(
            p_report_id, v_order, 'paid', p_reference, p_cents, p_currency, v_word, p_by, p_reason
        );
    end if;
    return query select v_word, v_owner, o from order_view o where o.order_id = p_order_id;
end
$$;

-- The shop cancelled an order that has ended before. Whatever ended it is final, so nothing has to be locked. Words:
-- elsewhere, paid_before, order_closed; none for an order that is CANCELLED, as the report says.
create function report_cancelled(p_report_id uuid, p_order_id uuid, p_by text, p_reason text) returns text
language plpgsql as $$
declare
    v_order sale_orders;
    v_word text;
begin
    perform make_it_last();
    select * into v_order from sale_orders where order_id = p_order_id;
    if not exists (select from flash_sales s where s.sale_id = v_order.sale_id and s.payment_mode = 'external') then
        return 'elsewhere';
    end if;
    v_word := case v_order.status when 'PAID' then 'paid_before' when 'EXPIRED' then 'order_closed' end;
    if v_word is not null then
        perform note_report(p_report_id, v_order, 'cancelled', '', null, null, v_word, p_by, p_reason);
    end if;
    return v_word;
end
$$;

-- The private halves of the keys passes are signed with. An order's pass is signed with the newest key that signed when
-- the order was reserved, so every gate makes the same pass of it.
create table pass_keys (
    key_id text primary key check (key_id ~ '^[0-9a-f]{16}$'),
    secret bytea not null check (octet_length(secret) = 32),
    made_at timestamptz not null,
    -- strictly rising with every key: keys are made one after the other
    signs_from timestamptz not null unique,
    made_by text not null,
    reason text not null
);

-- A key stays published until every pass it may have signed is over: so long after the next key has begun to sign.
create function kept_pass_keys(p_kept_ms bigint)
returns table (key_id text, secret bytea, made_ms bigint, signs_from_ms bigint, leaves_ms bigint)
language sql stable
begin atomic
    select k.key_id, k.secret, ms(k.made_at), ms(k.signs_from), ms(k.next_from) + p_kept_ms
    from (select *, lead(signs_from) over (order by signs_from) as next_from from pass_keys) k
    where k.next_from is null or ms(k.next_from) + p_kept_ms > ms(clock_ms())
    order by k.signs_from desc;
end;

-- A random id is 122 bits from the system's own source; three of them are more than the 256 that are kept.
create function new_pass_key(p_signs_from timestamptz, p_by text, p_reason text) returns void language sql
begin atomic
    insert into pass_keys (key_id, secret, made_at, signs_from, made_by, reason)
    values (
        left(encode(sha256(uuid_send(gen_random_uuid())), 'hex'), 16),
        sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
        clock_ms(), p_signs_from, p_by, p_reason
    );
end;

-- The first key signs at once, also for orders that were there before it. Whoever comes first makes it, all have it.
create function first_pass_key() returns void language plpgsql as $$
begin
    perform make_it_last();
    lock table pass_keys in share row exclusive mode;
    if not exists (select from pass_keys) then
        perform new_pass_key('epoch', 'gate', 'the first key');
    end if;
end
$$;

-- A new key that signs so much later; none while one is waiting for its time already, so a repeat is safe. A key that
-- somebody else may have is not waited for: all are dropped, and what they signed is signed anew.
create function rotate_pass_keys(p_ahead_ms bigint, p_kept_ms bigint, p_leaked boolean, p_by text, p_reason text)
returns void language plpgsql as $$
begin
    perform make_it_last();
    lock table pass_keys in share row exclusive mode;
    if p_leaked then
        delete from pass_keys;
        perform new_pass_key('epoch', p_by, p_reason);
    elsif not exists (select from pass_keys where signs_from > clock_ms()) then
        delete from pass_keys where key_id not in (select k.key_id from kept_pass_keys(p_kept_ms) k);
        perform new_pass_key(clock_ms() + p_ahead_ms * interval '1 millisecond', p_by, p_reason);
    end if;
end
$$;
