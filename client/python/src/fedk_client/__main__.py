"""`python -m fedk_client run …` is `fedk-client run …`."""

from fedk_client.cli import main

main()
