"""Where what clients and combiners do is told: to this server's sessions, or through a relay to a parent's."""

from fedk.combiner.children import Children
from fedk.combiner.relay import Relay
from fedk.rounds.door import Door
from fedk.rounds.tier import Tier

AnyDoor = Door | Relay
"""For clients."""

AnyTier = Tier | Children
"""For combiners."""
