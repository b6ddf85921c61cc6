from byoc_vision.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
