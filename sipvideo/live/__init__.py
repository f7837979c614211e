"""Live segmentation of one or more sources: what comes out is what the cameras see now.

    with LiveSession(sipvideo.load(), {"door": "rtsp://...", "desk": "0"}) as session:
        for live in session:
            show(live.source, live.result)
            live.shown()

Every source is read in a thread of its own that keeps only the newest frame. The network runs in the thread of whoever
asks for the next result, on the frame that is newest then: nothing queues up, so a slow model or consumer lowers the
frame rate and never delays the picture.
"""

from sipvideo.live.result import AgeStatistics, LiveResult
from sipvideo.live.session import LiveSession, Segmenter

__all__ = ["AgeStatistics", "LiveResult", "LiveSession", "Segmenter"]
