"""The routes of this door."""

from fastapi import APIRouter

router = APIRouter()
