"""Small programs on public libraries, used as their authors mean them: what feedzone is compared with."""
