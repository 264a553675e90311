"""The handlers that have instances moved: people want it, and the leader carries it out."""

from __future__ import annotations

from aiohttp import web

from orchestrator.api.bodies import MoveRequest, MovesRequest, NewMove
from orchestrator.api.context import Api
from orchestrator.api.queries import Query, WriteQuery
from orchestrator.api.reads import find_place
from orchestrator.api.requests import instance_name, precondition_of, read_body
from orchestrator.api.responses import REVISION_HEADER, json_answer, written_answer
from orchestrator.api.writer import Terms
from orchestrator.model.answers import Written
from orchestrator.model.errors import ConfigError, OrchestrationError
from orchestrator.model.instance import InstanceName, Move
from orchestrator.model.keys import InstancePlace
from orchestrator.model.missing import no_such_node
from orchestrator.model.moves import MovesWritten, RefusedMove
from orchestrator.planning.moving import destination
from orchestrator.planning.rebalancing import MAX_MOVES
from orchestrator.planning.simulation import Scene


async def move_instance(api: Api, request: web.Request, query: WriteQuery) -> web.Response:
    terms = Terms(precondition_of(request.headers), query.dry_run)
    body = await read_body(request, MoveRequest)
    place = find_place(api.state, request.match_info["name"])
    wished = api.state.moves.get(place)
    to = body.to or (wished.record.to if wished else "")
    found = destination(Scene(api.state, api.view.occupancy), api.scheduler, place, to)
    assignment = api.state.assignments[place].mod_revision
    written = await api.writer.move(place, Move(body.reason, found.node), assignment, terms)
    return written_answer(written, is_dry_run=query.dry_run)


async def keep_instance(api: Api, request: web.Request, query: WriteQuery) -> web.Response:
    terms = Terms(precondition_of(request.headers), query.dry_run)
    written = await api.writer.stay(instance_name(request), terms)
    return written_answer(written, is_dry_run=query.dry_run)


async def write_moves(api: Api, request: web.Request, _query: Query) -> web.Response:
    """Each by itself: what has changed meanwhile is refused, and holds up no other."""
    moves = (await read_body(request, MovesRequest)).moves
    if not 1 <= len(moves) <= MAX_MOVES:
        raise ConfigError(f"{len(moves)} moves: it must be 1 to {MAX_MOVES}")
    revision, written, refused = 0, [], []
    for move in moves:
        try:
            made = await _write(api, move)
        except OrchestrationError as error:
            refused.append(RefusedMove(move.instance, str(error)))
        else:
            written.append(move.instance)
            revision = max(revision, made.revision)
    answer = MovesWritten(revision or api.view.revision, tuple(written), tuple(refused))
    return json_answer(answer, headers={REVISION_HEADER: str(answer.revision)})


async def _write(api: Api, move: NewMove) -> Written:
    place = InstancePlace(move.from_node, InstanceName.parse(move.instance))
    if move.to_node not in api.state.reports:
        raise no_such_node(api.state, move.to_node)
    return await api.writer.move(place, Move(move.reason, move.to_node), move.assignment)
