"""The obvious version of the same endpoint: FastAPI, redis-py and SQLAlchemy, as a good engineer writes it in a day.

Token check, DECR, INSERT, 201; INCR when there was none left. It is here to be compared with, not to be copied: a crash
between DECR and INSERT loses a unit for ever, a repeated request takes a second one, the loser's INCR lets a later
buyer jump an earlier one, and a Redis that lost its memory sells nothing or everything.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field
from redis.asyncio import Redis
from sqlalchemy import DateTime, ForeignKey, String, UniqueConstraint, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SECRET = os.environ["PEER_SECRET"]
HOLD = timedelta(minutes=10)

engine = create_async_engine(os.environ["PEER_DATABASE_URL"], pool_size=16, max_overflow=0)
session = async_sessionmaker(engine, expire_on_commit=False)
redis = Redis.from_url(os.environ["PEER_REDIS_URL"], max_connections=64)


class Base(DeclarativeBase):
    pass


class Sale(Base):
    __tablename__ = "obvious_sales"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    quantity_available: Mapped[int]
    quantity_sold: Mapped[int] = mapped_column(default=0)
    price_cents: Mapped[int]


class Order(Base):
    __tablename__ = "obvious_orders"
    __table_args__ = (UniqueConstraint("sale_id", "user_id"),)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    sale_id: Mapped[str] = mapped_column(ForeignKey("obvious_sales.id"))
    user_id: Mapped[str] = mapped_column(String(200))
    quantity: Mapped[int]
    status: Mapped[str] = mapped_column(String(16), default="RESERVED")
    reserved_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class OrderIn(BaseModel):
    quantity: int = Field(ge=1, le=1)


class OrderOut(BaseModel):
    order_id: uuid.UUID
    sale_id: str
    user_id: str
    quantity: int
    status: str
    reserved_at: datetime
    expires_at: datetime


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    sale_id, quantity = os.environ["PEER_SALE"], int(os.environ["PEER_QUANTITY"])
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    async with session() as db:
        db.add(Sale(id=sale_id, quantity_available=quantity, price_cents=4900))
        await db.commit()
    await redis.set(f"stock:{sale_id}", quantity)
    yield
    await redis.aclose()
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


def buyer(authorization: Annotated[str, Header()]) -> str:
    try:
        token = jwt.decode(authorization.removeprefix("Bearer "), SECRET, ["HS256"], audience="doorbuster")
    except jwt.PyJWTError as problem:
        raise HTTPException(401, "invalid token") from problem
    return token["sub"]


@app.post("/v1/sales/{sale_id}/orders", status_code=201)
async def order(sale_id: str, body: OrderIn, user_id: Annotated[str, Depends(buyer)]) -> OrderOut:
    if await redis.decrby(f"stock:{sale_id}", body.quantity) < 0:
        await redis.incrby(f"stock:{sale_id}", body.quantity)
        raise HTTPException(409, "sold out")
    now = datetime.now(UTC)
    row = Order(sale_id=sale_id, user_id=user_id, quantity=body.quantity, reserved_at=now, expires_at=now + HOLD)
    async with session() as db:
        db.add(row)
        await db.execute(
            update(Sale).where(Sale.id == sale_id).values(quantity_sold=Sale.quantity_sold + body.quantity)
        )
        try:
            await db.commit()
        except IntegrityError as problem:
            await redis.incrby(f"stock:{sale_id}", body.quantity)
            raise HTTPException(409, "already purchased") from problem
    return OrderOut(
        order_id=row.id,
        sale_id=sale_id,
        user_id=user_id,
        quantity=row.quantity,
        status=row.status,
        reserved_at=row.reserved_at,
        expires_at=row.expires_at,
    )
