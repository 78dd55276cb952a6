"""What only cloud-volume reads: graphene segmentation, sharded volumes, and buckets (`gs://`, `s3://`).

The clients of buckets give up after 60 s of silence by themselves (google-cloud-storage, botocore). What goes through
`requests` without a deadline, as graphene and http do in cloud-volume, gets that of `extract.transfer` here.
"""

from typing import Any

import cloudvolume
import numpy as np
import requests.adapters
from cloudfiles.exceptions import DecompressionError
from cloudvolume.exceptions import DecodingError, EmptyVolumeException, InfoUnavailableError

from pipeline.config import Transfer
from pipeline.extract.chunks import CACHE_BYTES, Corner, Corners
from pipeline.extract.fetch import Unreadable, VolumeUnavailable

#: What cloud-volume raises for a missing chunk, and for one whose bytes cannot be decoded.
FAULTS = (EmptyVolumeException, DecodingError, DecompressionError, ValueError)


_send = requests.adapters.HTTPAdapter.send


def info(path: str, transfer: Transfer) -> dict[str, Any]:
    """The volume's description; Unreadable if there is none."""
    return _open(path, transfer).info


class CloudReader:
    """Boxes of one scale as cloud-volume reads them; the last decoded chunks stay in memory."""

    def __init__(self, path: str, mip: int, transfer: Transfer) -> None:
        self._path = path
        self._cv = _open(path, transfer, mip=mip, lru_bytes=CACHE_BYTES, lru_encoding="raw")

    def read(self, low_vx: np.ndarray, high_vx: np.ndarray, chunks: Corners) -> np.ndarray:
        """See `ChunkReader.read`."""
        try:
            cutout = self._cv.download(cloudvolume.Bbox(low_vx, high_vx))
        except FAULTS as error:
            faults = [fault for low, high in chunks if (fault := self._fault(low, high))]
            if not faults:
                raise _unavailable(self._path, error) from None
            raise Unreadable("; ".join(faults)) from None
        except Exception as error:  # of any of the libraries beneath it
            raise _unavailable(self._path, error) from None
        return np.asarray(cutout).reshape(high_vx - low_vx, order="F").T

    def _fault(self, low: Corner, high: Corner) -> str:
        box = cloudvolume.Bbox(low, high)
        name = f"{self._cv.key}/{box.to_filename()}"
        try:
            self._cv.download(box)
        except EmptyVolumeException:
            return f"missing chunk {name}"
        except FAULTS as error:
            return f"undecodable chunk {name} ({error})"
        return ""


def _open(path: str, transfer: Transfer, **options: Any) -> cloudvolume.CloudVolume:
    _set_deadline(transfer.timeout_s)
    try:
        return cloudvolume.CloudVolume(path, fill_missing=False, bounded=True, progress=False, **options)
    except InfoUnavailableError:
        raise Unreadable("missing info") from None
    except Exception as error:  # of any of the libraries beneath it
        raise _unavailable(path, error) from None


def _set_deadline(timeout_s: float) -> None:
    """Let requests of this process that have no deadline, of whatever library, end after so many seconds of silence.

    cloud-volume makes them in threads of its own, by sessions that it does not hand out, and takes no time-out.
    """

    def send(adapter: Any, request: Any, stream: bool = False, timeout: Any = None, **options: Any) -> Any:
        return _send(adapter, request, stream=stream, timeout=timeout_s if timeout is None else timeout, **options)

    requests.adapters.HTTPAdapter.send = send  # type: ignore[assignment, method-assign]


def _unavailable(path: str, error: Exception) -> VolumeUnavailable:
    return VolumeUnavailable(
        f"cannot read {path}: {type(error).__name__}: {str(error)[:300]}. Check its address, that this machine may "
        "read it, and the network, and start again: finished blocks are kept"
    )
