"""What the generated town is made of: invented names, categories, and how much everything counts (nats)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

NAME = "Fernmere"
TIMEZONE = "America/Chicago"
CENTRE = (44.97, -93.27)  # the town is invented; its clock and its sun are those of this point
FIRST_DAY = dt.datetime(2025, 4, 7)  # a Monday
PRICES = ("free", "cheap", "moderate", "expensive")
WEATHER = {"sunny": 0.45, "cloudy": 0.3, "rain": 0.25}  # and how often
OUTDOOR_EFFECT = (1.0, 0.0, -2.5)  # of each weather on what is outdoors
WEATHER_CHANGE = 0.35  # how often a quarter of a day has its own weather

# Part of the town -> its middle, and the share of the places that lie there.
AREAS: Mapping[str, tuple[tuple[float, float], float]] = {
    "Old Quay": ((44.982, -93.262), 0.24),
    "Market Hill": ((44.97, -93.27), 0.22),
    "Linden Park": ((44.958, -93.288), 0.14),
    "Mill End": ((44.992, -93.284), 0.12),
    "University": ((44.974, -93.238), 0.14),
    "Southfield": ((44.946, -93.262), 0.08),
    "Lakeside": ((44.964, -93.312), 0.06),
}

# When people go out: middle and spread (hours), weight on working days; at weekends the weights are reversed.
STARTS = ((19.3, 1.5, 0.3), (8.0, 1.0, 0.16), (12.5, 0.8, 0.2), (16.0, 1.5, 0.18), (22.0, 1.0, 0.16))


@dataclass(frozen=True)
class Category:
    """A kind of place: how many there are, when they are open and when people want them.

    `peaks` are (hour, width in hours, height); `titles` takes a name {0} and an area {1}.
    """

    name: str
    count: int
    hours: tuple[str, ...]
    peaks: tuple[tuple[float, float, float], ...]
    titles: tuple[str, ...]
    words: str = "owner"
    prices: tuple[int, ...] = (1, 2)
    weekend: float = 0.0
    outdoor: bool = False


@dataclass(frozen=True)
class Household:
    """Share of the residents, their ages, what they like beside their own taste, and what a price step adds."""

    share: float
    ages: tuple[int, int]
    price: float
    tastes: Mapping[str, float] = field(default_factory=dict)


CATEGORIES = (
    Category("cafe", 28, ("Mo-Su 07:00-18:00", "Mo-Fr 07:00-19:00; Sa,Su 08:00-18:00", "Tu-Su 08:00-20:00"),
             ((9.5, 1.5, 2.0), (15.5, 1.5, 2.0)), ("Cafe {0}", "{0} Coffee", "The {0} Cup")),
    Category("bakery", 16, ("Mo-Sa 06:00-14:00", "Tu-Su 06:30-15:00"), ((8, 1.2, 3.0),),
             ("{0} Bakery", "{0} & Daughters Bakery", "Bread by {0}"), prices=(1, 1, 2)),
    Category("restaurant", 34, ("Mo-Su 11:30-22:00", "Tu-Su 17:00-23:00", "We-Su 12:00-14:30,18:00-22:30"),
             ((12.8, 0.8, 1.5), (19.5, 1.5, 2.6)), ("{0}'s Table", "Trattoria {0}", "Restaurant {0}", "{0} & Vine"),
             prices=(2, 2, 3), weekend=0.3),
    Category("noodle bar", 14, ("Mo-Sa 11:00-20:30", "Mo-Su 11:30-22:00"), ((12.5, 0.9, 2.8), (18.5, 1.2, 1.4)),
             ("{0} Noodles", "{0} Ramen"), prices=(1,)),
    Category("bar", 20, ("Mo-Su 17:00-02:00", "We-Sa 18:00-03:00; Su 17:00-24:00"), ((22, 2.0, 2.8),),
             ("Bar {0}", "The {0} Room", "{0} after Dark"), words="thing", prices=(2, 3), weekend=0.5),
    Category("pub", 12, ("Mo-Su 12:00-24:00", "Mo-Th 16:00-24:00; Fr-Su 12:00-01:00"), ((20, 2.0, 2.2),),
             ("The {0} Arms", "The Old {0}", "The {0} & Crown"), words="thing", prices=(1, 2), weekend=0.2),
    Category("club", 6, ("Fr,Sa 22:00-04:00", "Th-Sa 21:30-03:00"), ((23.5, 1.2, 3.4),), ("Club {0}", "{0} Underground"),
             words="thing", prices=(2, 3), weekend=0.6),
    Category("museum", 12, ("Tu-Su 10:00-17:00", "We-Su 11:00-18:00; Th 11:00-21:00"), ((14, 2.0, 1.8),),
             ("{0} Museum", "Museum of {0}s"), words="thing", prices=(1, 2), weekend=0.8),
    Category("gallery", 8, ("We-Su 11:00-18:00", "Tu-Sa 12:00-20:00"), ((16, 2.0, 1.6),), ("{0} Gallery", "Studio {0}"),
             prices=(0, 1), weekend=0.5),
    Category("cinema", 8, ("Mo-Su 13:00-23:30", "Mo-Fr 16:00-23:00; Sa,Su 11:00-23:30"), ((20, 1.8, 2.4),),
             ("The {0} Cinema", "{0} Picture House"), words="thing", weekend=0.4),
    Category("theatre", 6, ("We-Su 18:00-22:30", "Th-Sa 18:30-23:00; Su 14:00-18:00"), ((19.3, 1.0, 2.8),),
             ("{0} Theatre", "The {0} Stage"), words="thing", prices=(2, 3), weekend=0.3),
    Category("park", 16, ("24/7", "Mo-Su 06:00-22:00"), ((10.5, 2.0, 1.5), (16.5, 2.0, 1.8)),
             ("{0} Green", "{0} Park", "{0} Meadow"), words="nature", prices=(0,), weekend=0.6, outdoor=True),
    Category("garden", 8, ("Mo-Su 08:00-20:00", "Tu-Su 09:00-19:00"), ((15, 2.0, 1.8),), ("{0} Garden", "The {0} Beds"),
             words="nature", prices=(0, 1), weekend=0.5, outdoor=True),
    Category("beach", 6, ("Mo-Su 08:00-21:00", "24/7"), ((14.5, 2.2, 2.0),), ("{0} Beach", "{0} Cove"),
             words="nature", prices=(0,), weekend=0.9, outdoor=True),
    Category("market", 8, ("Sa,Su 07:00-14:00; We 07:00-13:00", "Fr-Su 08:00-15:00"), ((9.5, 1.6, 2.2),),
             ("{0} Market", "Market at the {0}"), words="nature", prices=(1,), weekend=0.5, outdoor=True),
    Category("gym", 14, ("Mo-Fr 06:00-22:00; Sa,Su 08:00-20:00", "24/7"), ((7, 0.9, 2.8), (18, 1.2, 1.8)),
             ("{0} Gym", "{0} Strength"), prices=(1, 2), weekend=-0.3),
    Category("swimming pool", 6, ("Mo-Su 06:30-21:00", "Tu-Su 08:00-20:00"), ((7.5, 1.0, 1.8), (17, 1.8, 1.8)),
             ("{0} Baths", "{0} Pool"), words="nature", prices=(1,)),
    Category("library", 7, ("Mo-Fr 09:00-20:00; Sa 10:00-16:00", "Tu-Sa 10:00-19:00"), ((11, 1.8, 1.4), (16.5, 1.8, 1.8)),
             ("{1} Library {0}", "{0} Reading Rooms"), prices=(0,), weekend=-0.2),
    Category("bookshop", 9, ("Mo-Sa 10:00-19:00", "Tu-Su 11:00-20:00"), ((16, 2.0, 1.8),), ("{0} Books", "{0} & Page"),
             prices=(1, 2), weekend=0.3),
    Category("record shop", 5, ("Tu-Sa 11:00-20:00",), ((17, 1.6, 2.0),), ("{0} Records", "{0} Vinyl"), words="thing"),
    Category("climbing hall", 4, ("Mo-Su 10:00-23:00",), ((19, 1.6, 2.4),), ("{0} Boulders", "{0} Climbing"),
             words="nature", prices=(2,)),
    Category("bowling alley", 4, ("Mo-Fr 16:00-24:00; Sa,Su 12:00-01:00",), ((20.5, 1.8, 2.2),), ("{0} Lanes",),
             words="thing", prices=(2,), weekend=0.5),
)  # fmt: skip

HOUSEHOLDS: Mapping[str, Household] = {
    "student": Household(0.3, (18, 27), -0.6, {
        "noodle bar": 1.0, "bar": 0.8, "club": 1.2, "library": 1.0, "climbing hall": 0.8, "record shop": 0.8}),
    "couple": Household(0.28, (25, 45), 0.1, {
        "restaurant": 0.9, "cinema": 0.6, "gym": 0.6, "bar": 0.5, "theatre": 0.5}),
    "family": Household(0.26, (30, 50), -0.2, {
        "park": 0.9, "swimming pool": 1.2, "museum": 0.8, "beach": 0.9, "bowling alley": 0.8, "bar": -1.2, "club": -2.5}),
    "retired": Household(0.16, (62, 84), 0.0, {
        "garden": 1.2, "museum": 0.9, "theatre": 1.0, "bakery": 0.8, "cafe": 0.5, "club": -3.0, "gym": -0.8}),
}  # fmt: skip

NAMES: Mapping[str, tuple[str, ...]] = {
    "owner": (
        "Abela", "Birk", "Corvin", "Dalton", "Elstad", "Farrow", "Gilda", "Hobart", "Imre", "Jansen", "Kessler",
        "Lorne", "Marlow", "Nerida", "Osgood", "Pascoe", "Quill", "Rosalba", "Sorrel", "Tamsin", "Ulrike", "Vesper",
        "Wendell", "Yarrow", "Zelda", "Amarante", "Bellamy", "Cosima", "Drummond", "Evander", "Fennimore", "Greta",
        "Halloran", "Isolde",
    ),
    "thing": (
        "Lantern", "Anchor", "Compass", "Feather", "Kettle", "Thimble", "Copper", "Clock", "Mirror", "Piano", "Barrel",
        "Comet", "Whistle", "Ribbon", "Saddle", "Button", "Candle", "Ladder", "Marble", "Ember",
    ),
    "nature": (
        "Alder", "Heron", "Willow", "Otter", "Bramble", "Finch", "Juniper", "Thistle", "Swan", "Hazel", "Lark", "Moss",
        "Plover", "Rowan", "Sedge", "Teal",
    ),
}  # fmt: skip
