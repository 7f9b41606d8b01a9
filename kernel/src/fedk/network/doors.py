"""Where what clients do is told: to this server's sessions, or through a relay to a parent's."""

from fedk.combiner.relay import Relay
from fedk.rounds.door import Door

AnyDoor = Door | Relay
