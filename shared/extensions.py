"""File extensions that count as audio when a folder is scanned. A file given by name may have any extension."""

EXTENSIONS = frozenset(
    {".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".au", ".avi", ".caf", ".flac", ".m4a", ".m4b", ".mka", ".mkv"}
    | {".mov", ".mp2", ".mp3", ".mp4", ".mpga", ".oga", ".ogg", ".opus", ".ra", ".rf64", ".snd", ".spx", ".w64"}
    | {".wav", ".wave", ".weba", ".webm", ".wma", ".wv"}
)
