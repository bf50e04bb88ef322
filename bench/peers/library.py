"""The same endpoint on `neveroversell`, a PostgreSQL library with the same promise, as its manual shows it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException
from neveroversell import Inventory
from pydantic import BaseModel, Field

SECRET = os.environ["PEER_SECRET"]
inventory = Inventory(
    os.environ["PEER_DATABASE_URL"].replace("+asyncpg", ""),
    hold_ttl=timedelta(minutes=10),
    payment_window=timedelta(minutes=30),
    account_cap=1,
    max_size=16,
)


class OrderIn(BaseModel):
    quantity: int = Field(ge=1, le=1)


class OrderOut(BaseModel):
    order_id: str
    sale_id: str
    user_id: str
    quantity: int
    status: str
    expires_at: datetime


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    inventory.migrate()
    inventory.upsert_resource(os.environ["PEER_SALE"], int(os.environ["PEER_QUANTITY"]))
    yield


app = FastAPI(lifespan=lifespan)


def buyer(authorization: Annotated[str, Header()]) -> str:
    try:
        token = jwt.decode(authorization.removeprefix("Bearer "), SECRET, ["HS256"], audience="doorbuster")
    except jwt.PyJWTError as problem:
        raise HTTPException(401, "invalid token") from problem
    return token["sub"]


@app.post("/v1/sales/{sale_id}/orders", status_code=201)
def order(
    sale_id: str, body: OrderIn, user_id: Annotated[str, Depends(buyer)], idempotency_key: Annotated[str, Header()]
) -> OrderOut:
    held = inventory.hold(sale_id, body.quantity, account_id=user_id, idempotency_key=idempotency_key)
    if held.status != "held":
        raise HTTPException(409, held.status)
    return OrderOut(
        order_id=str(held.hold.id),
        sale_id=sale_id,
        user_id=user_id,
        quantity=body.quantity,
        status="RESERVED",
        expires_at=held.hold.expires_at,
    )
