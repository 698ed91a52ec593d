"""What a walk of a tree sees, the guest's own and ours alike."""
import os
import stat


# ntfs-3g tells another size of a directory that it has just changed than of the same one when it has mounted it afresh.
HAS_SIZES = "SLASHCLOUD_LIVE_NTFS" not in os.environ


def state(status):
    """Attributes by which two views of an inode are compared."""
    is_sized = HAS_SIZES or not stat.S_ISDIR(status.st_mode)
    return (
        status.st_ino & 0xFFFFFFFF,
        status.st_mode,
        status.st_nlink,
        status.st_uid,
        status.st_gid,
        status.st_size if is_sized else 0,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_blocks if HAS_SIZES else 0,
        status.st_rdev,
    )


SIZE, BLOCKS = 5, 8


def look(path):
    """The attributes of what is at `path`; None: nothing is."""
    try:
        return state(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def walk(top):
    """Paths below `top`, as bytes, and their attributes; links' targets are among them."""
    found = {b"": look(top)}
    pending = [b""]
    while pending:
        at = pending.pop()
        with os.scandir(os.path.join(top, at)) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            path = os.path.join(at, name)
            if path == b"lost+found":
                continue
            status = look(os.path.join(top, path))
            if status is None:
                continue
            if stat.S_ISLNK(status[1]):
                status += (os.readlink(os.path.join(top, path)),)
            found[path] = status
            if stat.S_ISDIR(status[1]):
                pending.append(path)
    return found


def attributes(path):
    """Extended attributes of users; None: the file is gone."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
        return {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in names
            if name.startswith("user.") and not name.startswith("user.guest.")
        }
    except FileNotFoundError:
        return None


def content(path):
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except FileNotFoundError:
        return None
