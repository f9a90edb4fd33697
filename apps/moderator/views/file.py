"""The page for a file of comments."""

from apps.moderator.components.file import choose_column, open_upload, show_controls, show_results
from apps.moderator.components.progress import JobProgress
from apps.moderator.services.problems import explain
from apps.ui.notice import show_problem


def file_view(api_url: str) -> JobProgress | None:
    """Draw the upload, the choice of column and what came of the rows; return the job that is under way, if any."""
    opened = open_upload()
    if opened is None:
        return None
    column = choose_column(opened)
    if column is None:
        return None
    job = opened.job(column)
    if not show_controls(opened, column, job) or job is None:
        return None
    progress = JobProgress(job)
    if job.error is not None:
        show_problem(explain(job.error, api_url))
    if job.finished and not job.running:
        show_results(opened, job, column)
    return progress if job.running else None
