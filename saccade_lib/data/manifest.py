"""What the data must be: check sums, counts and sizes of all that a record used."""

from dataclasses import dataclass

# part: (file, SHA-256 of the published .gz, SHA-256 of the same file unpacked)
MNIST = {
    "train_images": (
        "train-images-idx3-ubyte",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train_labels": (
        "train-labels-idx1-ubyte",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "test_images": (
        "t10k-images-idx3-ubyte",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "test_labels": (
        "t10k-labels-idx1-ubyte",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


@dataclass(frozen=True)
class Expected:
    """A pack of pictures, wherever it comes from.

    Attributes:
        zip_sha256: of the zip file that the records used.
        fingerprint: of its files, however they are packed (`files.fingerprint`).
        names: SHA-256 over the sorted names of its files.
        files: how many.
        size: width and height of every picture; None where they vary.
        unchanged: True where the original's bytes are taken over, so that a rebuilt
            pack has the same fingerprint. Where False, pictures are encoded again and
            another version of the JPEG library may give other bytes.
    """

    zip_sha256: str
    fingerprint: str
    names: str
    files: int
    size: tuple[int, int] | None
    unchanged: bool


PACKS = {
    "birds-cub41-crops227": Expected(
        "78f575137c5bfe20e18a2257ccacd340b59f1085c5216379299bd28d1591254d",
        "1641babaf46d29c3e11aaba9e78a47d2b7058eacb8ee780517d33145f59ce0a6",
        "9e4a2b091f708e624bc893ff3421a7f00367f11dbb1ddd1d9887d05ed0a94b55",
        files=2444,
        size=(227, 227),
        unchanged=True,
    ),
    "natural-caltech25": Expected(
        "8e981aa51f199e1c777c6ee282d94872cf49d5f067b60f8cc9c8439639033361",
        "cc25b1870698367634b73095d5e1dc22fc40e4b53ea9d6b73b85cf477e9e1c46",
        "582e26b91431b8d9ad59f4094736cdbfbf477a1a747cb50c8fb4d16219974e1c",
        files=1042,
        size=None,
        unchanged=True,
    ),
    "satellite-rsscn7-420": Expected(
        "437ad948a0afd458d0bf28d776dc61a8c579c10839ee951bc3c56308779d8c2c",
        "0d1749cd82a08c4cf51216fb811c66d33729125ccb7adafaccdb164e01f13e16",
        "88c910b5d980583578b7e9e7553f31c95c6954aadafa1263cd9fbe568a3d2ba3",
        files=420,
        size=(400, 400),
        unchanged=False,
    ),
    "photos-large10": Expected(
        "d972ba9ab99837f7703431317b8a0c6693801e8edaf06b3ef7c3841a7f18715b",
        "99e8f462ef23f227c99e8180dc0132e576ed3b0cdd912483b29e7cdbef00161a",
        "0fe1bc66f8f21b8701abb7e851d87fcd84b9b901a0067dc1b42bae7cf11e2191",
        files=10,
        size=None,
        unchanged=False,
    ),
}

# path without suffix | author | licence | width x height here
PHOTOS = """\
animals/kleiber | Lukas Baubkus, 2021 | CC BY-SA 3.0 | 4494x2528
animals/dragonfly | Bolly, 2018 | CC BY-SA 4.0 | 3371x2528
animals/friends | Aitzol Berasategi, 2018 | CC BY 4.0 | 2056x3088
man-made/bridge | Sander Klootwijk, 2018 | CC BY-SA 4.0 | 4352x2448
man-made/wine | Jakub Mede, 2018 | CC BY 4.0 | 2528x3789
man-made/greentock | Peter Nerlich, 2018 | CC BY-SA 4.0 | 2880x2160
nature/picosdeeuropa | Aitzol Berasategi, 2018 | CC BY 4.0 | 3264x2448
nature/life | Aitzol Berasategi, 2018 | CC BY 4.0 | 3088x2056
nature/seeding | Clemens Engelhardt, 2018 | CC0 1.0 | 4494x2528
abstract/analogpattern | Peter Nerlich, 2018 | CC BY-SA 4.0 | 2880x2160
"""
